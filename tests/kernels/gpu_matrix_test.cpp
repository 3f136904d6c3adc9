// The GPU's layout of packed weights: every place once, every code read back by the kernels' own
// decoding.
#include "kernels/gpu_matrix.h"

#include <set>

#include <gtest/gtest.h>

#include "kernels/gpu_layout.h"
#include "kernels/packed_code.h"
#include "tests/kernels/gpu_cases.h"

namespace sterna::kernels {
namespace {

static_assert(activation_bytes(1) == activation_stride(1));
static_assert(activation_bytes(576) == activation_stride(576));
static_assert(activation_bytes(4097) == activation_stride(4097));

constexpr CodeFormat kFormats[] = {CodeFormat::kTwoBit,
                                   CodeFormat::kFourBit,
                                   CodeFormat::kDint,
                                   CodeFormat::kTable,
                                   CodeFormat::kEightBit};

TEST(GpuMatrix, AUnitHoldsEachOfItsCodesOnceAndNothingElse) {
  for (const CodeFormat format : kFormats) {
    std::set<int> bits;
    for (int row = 0; row < 16; ++row) {
      for (int input = 0; input < 256 / code_bits(format); ++input) {
        const UnitSlot slot = unit_slot(format, row, input);
        ASSERT_EQ(slot.byte % 4, 0);
        ASSERT_EQ(slot.shift % code_bits(format), 0);
        for (int bit = 0; bit < code_bits(format); ++bit)
          ASSERT_TRUE(bits.insert(slot.byte * 8 + slot.shift + bit).second);
      }
    }
    EXPECT_EQ(static_cast<int>(bits.size()), kUnitBytes * 8);
    EXPECT_EQ(*bits.rbegin(), kUnitBytes * 8 - 1);
  }
}

TEST(GpuMatrix, PermuteIsPtxPrmt) {
  EXPECT_EQ(permute(0x33221100u, 0x77665544u, 0x3210u), 0x33221100u);
  EXPECT_EQ(permute(0x33221100u, 0x77665544u, 0x7531u), 0x77553311u);
  // The fourth bit of a nibble asks for the byte's sign.
  EXPECT_EQ(permute(0x80221100u, 0x7f665544u, 0xfbb8u), 0x00ffff00u);
}

/// Byte `byte` of output `row` and `input` of a unit, as a lane decodes it.
template <CodeFormat F, bool Place, int S = 0>
uint32_t decoded(const uint8_t* unit, int zero, int row, int input) {
  if constexpr (S < UnitOf<F>::kSteps) {
    if (input / kStepInputs != S)
      return decoded<F, Place, S + 1>(unit, zero, row, input);
    Words raw;
    std::memcpy(&raw, unit + (row % 8 * 4 + input % 32 / 8) * 16, sizeof raw);
    const uint32_t last[2] = {dint_last_bytes(zero), dint_last_bytes(zero)};
    uint32_t quads[2][2];
    decode_step<F, S, Place>(raw, last, quads);
    const int r = input % 8 / 4;
    return (quads[row / 8][r] >> input % 4 * 8 & 255u) >> (Place ? place_of<F>(S, r) : 0);
  }
  return 0;
}

/// Every code at every place of a unit, all others being random.
template <CodeFormat F>
void expect_every_code_to_decode(int zero) {
  std::mt19937 random(5);
  constexpr int kBits = UnitOf<F>::kBits;
  for (int code = 0; code < 1 << kBits; ++code) {
    alignas(16) uint8_t unit[kUnitBytes];
    for (uint8_t& byte : unit)
      byte = static_cast<uint8_t>(random());
    for (int row = 0; row < 16; ++row) {
      for (int input = 0; input < UnitOf<F>::kInputs; ++input) {
        const UnitSlot slot = unit_slot(F, row, input);
        uint32_t word = 0;
        std::memcpy(&word, unit + slot.byte, sizeof word);
        const uint32_t mask = ((1u << kBits) - 1) << slot.shift;
        word = (word & ~mask) | static_cast<uint32_t>(code) << slot.shift;
        std::memcpy(unit + slot.byte, &word, sizeof word);
        const int step = gpu_unit_step(F), from = zero + gpu_extra_zero(F);
        const uint32_t byte = decoded<F, false>(unit, zero, row, input);
        ASSERT_EQ(step * static_cast<int>(byte) - from, whole_value(F, code, zero))
            << "code " << code << ", zero " << zero << ", " << row << ", " << input;
        ASSERT_EQ((decoded<F, true>(unit, zero, row, input)), byte);
      }
    }
  }
}

TEST(GpuMatrix, EveryCodeDecodesAtEveryPlace) {
  expect_every_code_to_decode<CodeFormat::kTwoBit>(2);
  expect_every_code_to_decode<CodeFormat::kFourBit>(15);
  expect_every_code_to_decode<CodeFormat::kEightBit>(128);
  for (int zero = 0; zero <= 26; ++zero)
    expect_every_code_to_decode<CodeFormat::kDint>(zero);
}

TEST(GpuMatrix, BytesBecomeFloatsAndBf16Exactly) {
  for (int byte = 0; byte < 256; ++byte) {
    for (int zero = 0; zero <= 255; ++zero) {
      for (const float step : {1.0f, 2.0f}) {
        const float offset = kByteOffset + static_cast<float>(zero) / step;
        const float expected = static_cast<float>(byte) - static_cast<float>(zero) / step;
        const auto quad = static_cast<uint32_t>(byte);
        ASSERT_EQ(byte_value<0>(quad, offset), expected);
        ASSERT_EQ(byte_value<1>(quad << 8, offset), expected);
        ASSERT_EQ(byte_value<2>(quad << 16, offset), expected);
        ASSERT_EQ(byte_value<3>(quad << 24, offset), expected);
        // In half steps only codes of four bits and fewer have zeros.
        if (step == 1 || (byte < 16 && zero <= 30)) {
          const uint32_t pair = bf16_pair(expected, -expected);
          ASSERT_EQ(float_of_bits(pair << 16), expected);
          ASSERT_EQ(float_of_bits(pair & 0xffff0000u), -expected);
        }
      }
    }
  }
}

TEST(GpuMatrix, RepackingKeepsEveryCodeScaleAndZero) {
  std::mt19937 random(9);
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const CaseShape& shape : {CaseShape{1, 7, 7},
                                   CaseShape{19, 200, 200},
                                   CaseShape{33, 192, 64},
                                   CaseShape{48, 160, 32, true}}) {
      const CaseMaker maker(static_cast<Kind>(kind), shape, random);
      const PackedMatrix& w = maker.made.packed;
      const GpuCase gpu(w);
      ASSERT_EQ(gpu.status, Status::kOk);
      for (int64_t n = 0; n < w.n; ++n) {
        for (int64_t i = 0; i < w.k; ++i) {
          const int64_t unit = n / 16 * gpu.matrix.units() + i / gpu.matrix.unit_inputs();
          const UnitSlot slot = unit_slot(
              w.format, static_cast<int>(n % 16), static_cast<int>(i % gpu.matrix.unit_inputs()));
          uint32_t word = 0;
          std::memcpy(&word, gpu.matrix.data + unit * kUnitBytes + slot.byte, sizeof word);
          const uint32_t code = word >> slot.shift & ((1u << gpu.matrix.bits()) - 1);
          const uint8_t* group = group_at(w, n, i / w.group);
          ASSERT_EQ(static_cast<int>(code), stored_code(w, group, n % 16, i % w.group));
          const TileTables tables(gpu.matrix, n / 16);
          const int row = static_cast<int>(n % 16), g = static_cast<int>(i / w.group);
          ASSERT_EQ(tables.scale(g, row), stored_scale(w, group, row));
          ASSERT_EQ(tables.zero(g, row), stored_zero(w, group, row));
        }
      }
    }
  }
}

TEST(GpuMatrix, GroupsOfSixteenAreRefused) {
  std::mt19937 random(9);
  const CaseMaker maker(Kind::kInt4, {16, 96, 48}, random);
  EXPECT_EQ(GpuCase(maker.made.packed).status, Status::kUnsupported);
}

}  // namespace
}  // namespace sterna::kernels
