// Where codes lie in a unit of a GpuMatrix, how a lane decodes them and what of a tensor-core
// product it holds: the arithmetic of the kernels that host and GPU share, so that tests prove it
// without a GPU. C++17, as nvcc compiles it.
#pragma once

#include <cstring>

#include "kernels/gpu_matrix.h"

namespace sterna::kernels {

/// Where a code lies in its unit.
struct UnitSlot {
  int byte = 0;   ///< of the 32-bit word that holds it
  int shift = 0;  ///< in that word
};

/// A lane holds outputs lane / 4 and lane / 4 + 8 and, of each 32 inputs, the eight from
/// lane % 4 * 8 on, in two quads of four bytes. This order of inputs is not that of
/// mma.m16n8k32's definition; as both its operands follow it, the product is the same, and
/// activations come by eight bytes at a time.
/// @param row    of the tile
/// @param input  of the unit
constexpr UnitSlot unit_slot(CodeFormat format, int row, int input) {
  const int bits = format == CodeFormat::kTwoBit ? 2 : format == CodeFormat::kEightBit ? 8 : 4;
  const int word_quads = 8 / bits;
  const int lane = row % 8 * 4 + input % 32 / 8;
  const int quad = input / 32 * 2 + input % 8 / 4;
  const int word = quad / word_quads * 2 + row / 8;
  const int in_word = quad % word_quads;
  // dINT's nibbles are selectors of PRMT, which takes four neighbours at a time.
  const int shift =
      format == CodeFormat::kDint ? in_word * 16 + input % 4 * 4 : input % 4 * 8 + in_word * bits;
  return {lane * 16 + word * 4, shift};
}

/// Row of the tile and column (token) of the eight that a lane holds as value i of a product.
STERNA_BOTH int product_row(int lane, int i) {
  return lane / 4 + i / 2 * 8;
}
STERNA_BOTH int product_column(int lane, int i) {
  return lane % 4 * 2 + i % 2;
}

/// activation_stride() of quantize_rows.h.
STERNA_BOTH constexpr int64_t activation_bytes(int64_t k) {
  return ((k + 63) / 64 | 1) * 64;
}

/// 16 bytes of a lane.
struct alignas(16) Words {
  uint32_t w[4];
};

/// Eight activations of a lane.
struct alignas(8) Pair {
  uint32_t a = 0;
  uint32_t b = 0;
};

template <CodeFormat F>
struct UnitOf {
  static constexpr int kBits = F == CodeFormat::kTwoBit ? 2 : F == CodeFormat::kEightBit ? 8 : 4;
  static constexpr int kInputs = 256 / kBits;
  static constexpr int kSteps = kInputs / kStepInputs;
};

/// GpuMatrix::units() where the format is known.
template <CodeFormat F>
STERNA_BOTH int64_t units_of(int64_t k) {
  return (k + UnitOf<F>::kInputs - 1) / UnitOf<F>::kInputs;
}

/// PTX's prmt: byte i of the result is the byte of (high, low) that nibble i of `by` names by its
/// lower three bits; where the fourth is set, that byte's sign throughout.
STERNA_BOTH uint32_t permute(uint32_t low, uint32_t high, uint32_t by) {
#ifdef __CUDA_ARCH__
  uint32_t to;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(to) : "r"(low), "r"(high), "r"(by));
  return to;
#else
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  uint32_t to = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = by >> 4 * i & 15u;
    const auto byte = static_cast<uint32_t>(bytes >> 8 * (nibble & 7u) & 255u);
    to |= ((nibble & 8u) == 0 ? byte : (byte & 128u) != 0 ? 255u : 0u) << 8 * i;
  }
  return to;
#endif
}

/// sum + the four products of unsigned by signed bytes.
STERNA_BOTH int32_t dot4(uint32_t codes, uint32_t x, int32_t sum) {
#ifdef __CUDA_ARCH__
  int32_t to;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(to) : "r"(codes), "r"(x), "r"(sum));
  return to;
#else
  for (int i = 0; i < 32; i += 8)
    sum += static_cast<int32_t>(codes >> i & 255u) * static_cast<int8_t>(x >> i & 255u);
  return sum;
#endif
}

// One rounding each: what the CPU's products without contraction give.
STERNA_BOTH float rounded_product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
STERNA_BOTH float rounded_sum(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

STERNA_BOTH float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// dINT's bytes E = D + zero + 1: 1, 3 .. 27 for the integers, zero + 2 and zero for the halves. All
// are below 128, so that PRMT gives 0 where the selector's fourth bit asks for the sign.
constexpr uint32_t kDintBytes0 = 0x07050301u, kDintBytes1 = 0x0f0d0b09u, kDintBytes2 = 0x17151311u;

/// The last four of them.
STERNA_BOTH uint32_t dint_last_bytes(int zero) {
  return 0x00001b19u | static_cast<uint32_t>(zero + 2) << 16 | static_cast<uint32_t>(zero) << 24;
}

/// Four codes that the lower half of `nibbles` names; `flipped` is nibbles ^ 0x88888888.
STERNA_BOTH uint32_t dint_quad(uint32_t nibbles, uint32_t flipped, uint32_t last) {
  return permute(kDintBytes0, kDintBytes1, nibbles) | permute(kDintBytes2, last, flipped);
}

/// What decoded bytes count from, beyond the zero.
STERNA_BOTH int gpu_extra_zero(CodeFormat format) {
  return format == CodeFormat::kDint ? 1 : 0;
}

/// D is this many times (byte - zero / this).
STERNA_BOTH int gpu_unit_step(CodeFormat format) {
  return format == CodeFormat::kTwoBit || format == CodeFormat::kFourBit ? 2 : 1;
}

/// How often quad r of step S of a unit is too large where it was decoded in place, as a shift.
template <CodeFormat F>
STERNA_BOTH constexpr int place_of(int s, int r) {
  return F == CodeFormat::kTwoBit ? 2 * (s % 2 * 2 + r) : F == CodeFormat::kFourBit ? 4 * r : 0;
}

/// Bytes of step S: quads[h][r] is output h of the lane, inputs r * 4 .. r * 4 + 3 of its eight.
///
/// @param last    dint_last_bytes of both outputs
/// @tparam Place  true: masks alone, bytes are 2^place_of times too large
template <CodeFormat F, int S, bool Place>
STERNA_BOTH void decode_step(const Words& raw, const uint32_t (&last)[2], uint32_t (&quads)[2][2]) {
  STERNA_UNROLL for (int h = 0; h < 2; ++h) {
    if constexpr (F == CodeFormat::kEightBit) {
      quads[h][0] = raw.w[h];
      quads[h][1] = raw.w[2 + h];
    } else if constexpr (F == CodeFormat::kDint) {
      const uint32_t word = raw.w[S * 2 + h], flipped = word ^ 0x88888888u;
      quads[h][0] = dint_quad(word, flipped, last[h]);
      quads[h][1] = dint_quad(word >> 16, flipped >> 16, last[h]);
    } else {
      constexpr uint32_t kMask = F == CodeFormat::kTwoBit ? 0x03030303u : 0x0f0f0f0fu;
      const uint32_t word = raw.w[F == CodeFormat::kTwoBit ? S / 2 * 2 + h : S * 2 + h];
      STERNA_UNROLL for (int r = 0; r < 2; ++r) quads[h][r] =
          Place ? word & kMask << place_of<F>(S, r) : word >> place_of<F>(S, r) & kMask;
    }
  }
}

/// What step S + 1 is decoded from, where decode_step<F, 0> stands for step S: for loops over steps
/// that are not unrolled.
template <CodeFormat F>
STERNA_BOTH void next_step(int s, Words& raw) {
  if constexpr (F != CodeFormat::kEightBit) {
    const bool within = F == CodeFormat::kTwoBit && s % 2 == 0;
    raw.w[0] = within ? raw.w[0] >> 4 : raw.w[2];
    raw.w[1] = within ? raw.w[1] >> 4 : raw.w[3];
  }
}

/// Byte i of a quad less `offset` - 2^15, exactly, for offsets in half steps: as the lower mantissa
/// of a float of 2^15 the byte needs no conversion.
template <int I>
STERNA_BOTH float byte_value(uint32_t quad, float offset) {
  return float_of_bits(permute(quad, 0x47000000u, 0x7404u | I << 4)) - offset;
}
constexpr float kByteOffset = 32768;

/// The upper halves of two floats: both as bf16, for values that bf16 holds.
STERNA_BOTH uint32_t bf16_pair(float low, float high) {
  uint32_t bits[2];
  memcpy(&bits[0], &low, sizeof low);
  memcpy(&bits[1], &high, sizeof high);
  return permute(bits[0], bits[1], 0x7632u);
}

/// Scales and zeros of a tile.
struct TileTables {
  const uint8_t* scales;
  const int16_t* zeros;  ///< null where one serves all
  int one_zero;
  bool half;

  STERNA_BOTH TileTables(const GpuMatrix& w, int64_t tile)
      : scales(nullptr), zeros(nullptr), one_zero(w.zero), half(w.half_scales) {
    const int64_t groups = w.groups(), tiles = w.tiles(), size = half ? 2 : 4;
    const uint8_t* all = w.data + tiles * w.units() * kUnitBytes;
    scales = all + tile * groups * kPanelRows * size;
    if (w.own_zeros)
      zeros = reinterpret_cast<const int16_t*>(all + tiles * groups * kPanelRows * size) +
              tile * groups * kPanelRows;
  }

  STERNA_BOTH float scale(int g, int row) const {
    const int at = g * static_cast<int>(kPanelRows) + row;
    return half ? float_of_bits(uint32_t{reinterpret_cast<const uint16_t*>(scales)[at]} << 16)
                : reinterpret_cast<const float*>(scales)[at];
  }
  STERNA_BOTH int zero(int g, int row) const {
    return zeros == nullptr ? one_zero : zeros[g * static_cast<int>(kPanelRows) + row];
  }
};

}  // namespace sterna::kernels
