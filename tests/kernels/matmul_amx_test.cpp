#include <cstdio>

#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "tests/kernels/amx_emulator.h"
#include "tests/kernels/packed_cases.h"

namespace sterna::kernels {
namespace {

/// On a machine with AMX its own tiles, else software's: the variant's code is the same.
TEST(MatmulAmx, EightBitActivationsGiveTheReferencesBits) {
  if (!supports(CpuLevel::kAvx512))
    GTEST_SKIP() << "the variant decodes with AVX-512, which this machine lacks";
  const bool emulated = !supports(CpuLevel::kAmx);
  std::printf("tiles are %s\n", emulated ? "emulated" : "the processor's");
  const AmxEmulator emulator;
  std::mt19937 random(9);
  const auto draw = [&](int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random);
  };
  for (int i = 0; i < 300; ++i) {
    CaseShape shape;
    shape.group = i % 2 == 0 ? draw(1, 700) : 64 * draw(1, 3);
    shape.k = shape.group * (i % 2 == 0 ? 1 : draw(1, 4));
    shape.n = draw(1, 50);
    shape.worst = i % 5 == 0;
    const CaseMaker maker(static_cast<Kind>(i % kWholeKinds), shape, random);
    const int64_t m = i % 7 == 0 ? draw(90, 130) : draw(2, 40);
    const QuantizedCase x = quantized_case(m, maker.made.packed, shape.worst, i % 64, random);
    std::vector<float> expected(static_cast<size_t>(m * shape.n), -7.0f), y = expected;
    matmul_a8_reference(maker.made.packed, x.rows, {0, shape.n}, expected.data());
    ASSERT_EQ(matmul_a8(maker.made.packed, x.rows, {0, shape.n}, y.data(), CpuLevel::kAmx),
              Status::kOk);
    ASSERT_EQ(y, expected) << i << ": m " << m << ", n " << shape.n << ", k " << shape.k
                           << ", group " << shape.group;
  }
  EXPECT_EQ(AmxEmulator::products() > 0, emulated);
}

}  // namespace
}  // namespace sterna::kernels
