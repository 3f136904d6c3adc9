// Single codes, zeros and scales of a PackedMatrix: for packers and definitions, not for loops that
// count.
#pragma once

#include <bit>
#include <cstring>

#include "kernels/packed_matrix.h"

namespace sterna::kernels {

constexpr int kDintIntegers = 14;  ///< codes below are integers; then +1/2 and -1/2

constexpr int code_bits(CodeFormat format) {
  if (format == CodeFormat::kTwoBit)
    return 2;
  return format == CodeFormat::kEightBit ? 8 : 4;
}

/// Where a code lies in its group.
struct CodeSlot {
  int64_t byte = 0;
  int shift = 0;
};

/// @param row    of the panel
/// @param input  of the group
constexpr CodeSlot slot_of(CodeFormat format, int64_t row, int64_t input) {
  const int64_t bits = code_bits(format);
  const int64_t inputs = 32 / bits;  // of 64 bytes, for one output
  const int64_t in_vector = input % inputs;
  return {input / inputs * 64 + row * 4 + in_vector % 4, static_cast<int>(in_vector / 4 * bits)};
}

inline const uint8_t* group_at(const PackedMatrix& w, int64_t n, int64_t g) {
  return w.panels + n / kPanelRows * w.panel_bytes() + g * w.group_bytes();
}

inline int stored_code(const PackedMatrix& w, const uint8_t* group, int64_t row, int64_t input) {
  const CodeSlot slot = slot_of(w.format, row, input);
  return group[slot.byte] >> slot.shift & ((1 << code_bits(w.format)) - 1);
}

inline int64_t scales_at(const PackedMatrix& w) {
  return w.group_blocks() * w.block_bytes();
}

inline int64_t zeros_at(const PackedMatrix& w) {
  return scales_at(w) + kPanelRows * (w.half_scales ? 2 : 4);
}

inline float stored_scale(const PackedMatrix& w, const uint8_t* group, int64_t row) {
  const uint8_t* scales = group + scales_at(w);
  uint32_t bits = 0;
  if (w.half_scales) {
    uint16_t upper = 0;
    std::memcpy(&upper, scales + row * 2, sizeof upper);
    bits = static_cast<uint32_t>(upper) << 16;
  } else {
    std::memcpy(&bits, scales + row * 4, sizeof bits);
  }
  return std::bit_cast<float>(bits);
}

inline int stored_zero(const PackedMatrix& w, const uint8_t* group, int64_t row) {
  if (!w.own_zeros)
    return w.zero;
  int16_t zero = 0;
  std::memcpy(&zero, group + zeros_at(w) + row * 2, sizeof zero);
  return zero;
}

/// D of a whole format.
constexpr int whole_value(CodeFormat format, int code, int zero) {
  if (format == CodeFormat::kDint && code >= kDintIntegers)
    return code == kDintIntegers ? 1 : -1;
  return (format == CodeFormat::kEightBit ? code : 2 * code) - zero;
}

/// Values of output n, fp32 [K].
inline void decode_row(const PackedMatrix& w, int64_t n, float* to) {
  const int64_t row = n % kPanelRows;
  for (int64_t g = 0; g < w.groups(); ++g, to += w.group) {
    const uint8_t* group = group_at(w, n, g);
    const float scale = stored_scale(w, group, row);
    const int zero = stored_zero(w, group, row);
    for (int64_t i = 0; i < w.group; ++i) {
      const int code = stored_code(w, group, row, i);
      to[i] = scale *
              (w.whole() ? static_cast<float>(whole_value(w.format, code, zero)) : w.levels[code]);
    }
  }
}

}  // namespace sterna::kernels
