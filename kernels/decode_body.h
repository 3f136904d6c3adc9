// From packed codes to bytes that a product of bytes takes, for any vector type V of code_simd_*.h.
// Such a byte is D + zero_of(): D counts from the zero, which the sum of the activations puts
// right.
#pragma once

#include <type_traits>

#include "kernels/packed_code.h"

namespace sterna::kernels {
namespace {

#define STERNA_BODY inline __attribute__((always_inline))

/// Bytes of one vector of 64 for each four inputs of a panel.
constexpr int64_t kQuadBytes = 64;

/// Fours of inputs that lie in 64 packed bytes.
constexpr int steps_of(CodeFormat format) {
  return 8 / code_bits(format);
}

/// What all codes of a matrix are decoded with.
template <class V>
struct Decoder {
  typename V::Table table;
  typename V::Bytes mask;

  explicit Decoder(const PackedMatrix& w) : mask(V::fill(6)) {
    uint8_t values[16];
    for (int u = 0; u < 16; ++u)
      values[u] = static_cast<uint8_t>(value(w, u));
    table = V::table(values);
  }

 private:
  static int value(const PackedMatrix& w, int u) {
    if (w.format != CodeFormat::kDint)
      return w.format == CodeFormat::kTable ? u : 2 * u;
    // Odd but for the halves, which where_even() tells by that.
    const int zero = w.own_zeros ? 0 : w.zero;
    return u < kDintIntegers ? 2 * u + 1 : zero + 2 - 2 * (u - kDintIntegers);
  }
};

/// What decoding adds to the zero of a panel's outputs.
constexpr int extra_zero(CodeFormat format) {
  return format == CodeFormat::kDint ? 1 : 0;
}

/// Zeros of 16 / kParts outputs of a group, in units of D.
template <class V>
STERNA_BODY typename V::Ints zeros_of(const PackedMatrix& w, const uint8_t* group, int part) {
  if (!w.own_zeros)
    return V::set(w.zero + extra_zero(w.format));
  const auto stored = V::widen(group + zeros_at(w) + part * (32 / V::kParts));
  return V::add(stored, V::set(extra_zero(w.format)));
}

template <class V>
STERNA_BODY typename V::Floats scales_of(const PackedMatrix& w, const uint8_t* group, int part) {
  const uint8_t* at = group + scales_at(w);
  if (w.half_scales)
    return V::load_bf16(at + part * (32 / V::kParts));
  float scales[16 / V::kParts];
  std::memcpy(scales, at + part * (64 / V::kParts), sizeof scales);
  return V::load_floats(scales);
}

/// Zeros as bytes for the halves of dINT with zeros of its own; anything elsewhere.
template <class V>
STERNA_BODY typename V::Bytes half_zeros_of(const PackedMatrix& w, const uint8_t* group, int part) {
  if (w.format != CodeFormat::kDint || !w.own_zeros)
    return V::fill(0);
  return V::spread(V::widen(group + zeros_at(w) + part * (32 / V::kParts)));
}

/// Step S of the 64 (/ kParts) bytes `raw`.
template <class V, CodeFormat F, int S>
STERNA_BODY typename V::Bytes decode([[maybe_unused]] const Decoder<V>& by,
                                     typename V::Bytes raw,
                                     [[maybe_unused]] typename V::Bytes half_zeros) {
  if constexpr (F == CodeFormat::kEightBit) {
    return raw;
  } else if constexpr (F == CodeFormat::kTwoBit) {
    if constexpr (S == 0)
      return V::both(V::twice(raw), by.mask);
    else
      return V::both(V::template right<2 * S - 1>(raw), by.mask);
  } else {
    const auto value = V::look_up(by.table, S == 0 ? raw : V::template right<4>(raw));
    if constexpr (F == CodeFormat::kDint)
      return V::add_bytes(value, V::where_even(value, half_zeros));
    return value;
  }
}

/// Calls body(std::integral_constant<CodeFormat, F>) for what decodes w: a table of sixteen bytes
/// is the same for all, but for dINT whose zeros differ.
template <class Body>
STERNA_BODY void with_format(const PackedMatrix& w, const Body& body) {
  if (w.format == CodeFormat::kTwoBit)
    return body(std::integral_constant<CodeFormat, CodeFormat::kTwoBit>{});
  if (w.format == CodeFormat::kEightBit)
    return body(std::integral_constant<CodeFormat, CodeFormat::kEightBit>{});
  if (w.format == CodeFormat::kDint && w.own_zeros)
    return body(std::integral_constant<CodeFormat, CodeFormat::kDint>{});
  return body(std::integral_constant<CodeFormat, CodeFormat::kFourBit>{});
}

/// Inputs input_begin .. input_end of one group of a panel as bytes, a vector of 64 for each four
/// inputs, `stride` bytes apart. Both ends are multiples of 16 (the last may be the padded end).
struct DecodeSpan {
  int64_t input_begin = 0;
  int64_t input_end = 0;
  int64_t stride = kQuadBytes;
};

template <class V, CodeFormat F>
void decode_span(const PackedMatrix& w,
                 const Decoder<V>& by,
                 const uint8_t* group,
                 const DecodeSpan& span,
                 uint8_t* out) {
  constexpr int kSteps = steps_of(F);
  constexpr int64_t kPart = 64 / V::kParts;
  typename V::Bytes half_zeros[V::kParts];
  for (int part = 0; part < V::kParts; ++part)
    half_zeros[part] = half_zeros_of<V>(w, group, part);
  const uint8_t* from = group + span.input_begin / (4 * kSteps) * 64;
  const uint8_t* end = group + span.input_end / (4 * kSteps) * 64;
  for (; from < end; from += 64, out += kSteps * span.stride) {
    for (int part = 0; part < V::kParts; ++part) {
      const auto raw = V::load(from + part * kPart);
      uint8_t* to = out + part * kPart;
      V::store(to, decode<V, F, 0>(by, raw, half_zeros[part]));
      if constexpr (kSteps > 1)
        V::store(to + span.stride, decode<V, F, 1>(by, raw, half_zeros[part]));
      if constexpr (kSteps > 2) {
        V::store(to + 2 * span.stride, decode<V, F, 2>(by, raw, half_zeros[part]));
        V::store(to + 3 * span.stride, decode<V, F, 3>(by, raw, half_zeros[part]));
      }
    }
  }
}

}  // namespace
}  // namespace sterna::kernels
