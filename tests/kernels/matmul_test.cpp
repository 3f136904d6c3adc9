#include "kernels/matmul.h"

#include <cmath>

#include "tests/kernels/packed_cases.h"
#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

class Matmul : public EveryCpu {};

int64_t draw(std::mt19937& random, int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(random);
}

/// By the words of matmul.h, from the unpacked codes: 2 value / scale is D of half-step formats.
TEST(MatmulReference, IsTheSumOfWholeProductsTimesTheScales) {
  std::mt19937 random(4);
  for (int kind = 0; kind < kWholeKinds; ++kind) {
    const CaseMaker maker(static_cast<Kind>(kind), {19, 96, 32}, random);
    const PackedCase& w = maker.made;
    const QuantizedCase x = quantized_case(3, w.packed, false, 0, random);
    std::vector<float> y(3 * 19);
    ASSERT_EQ(matmul_a8_reference(w.packed, x.rows, {0, 19}, y.data()), Status::kOk);
    for (int64_t m = 0; m < 3; ++m) {
      for (int64_t n = 0; n < 19; ++n) {
        float expected = 0;
        for (int64_t g = 0; g < 3; ++g) {
          const float scale = w.scales[static_cast<size_t>(n * 3 + g)];
          double sum = 0;
          for (int64_t i = g * 32; i < (g + 1) * 32; ++i)
            sum += double{w.value(n, i) / scale} * x.rows.codes[m * activation_stride(96) + i];
          expected += static_cast<float>(sum) * (scale * x.scales[static_cast<size_t>(m)]);
        }
        ASSERT_EQ(y[static_cast<size_t>(m * 19 + n)], expected) << "kind " << kind;
      }
    }
  }
}

struct RandomProduct {
  CaseShape shape;
  int64_t m = 0;
  OutputRange range;
  bool worst = false;
};

RandomProduct random_product(std::mt19937& random) {
  RandomProduct p;
  const bool grouped = draw(random, 0, 1) == 1;
  p.shape.group = grouped ? 16 * draw(random, 1, 9) : draw(random, 1, 200);
  p.shape.k = p.shape.group * (grouped ? draw(random, 1, 4) : 1);
  p.shape.n = draw(random, 1, 70);
  p.shape.float_scales = draw(random, 0, 1) == 1;
  p.shape.worst = p.worst = draw(random, 0, 3) == 0;
  p.shape.misalign = draw(random, 0, 63);
  p.m = draw(random, 0, 3) > 0 ? draw(random, 0, 5) : draw(random, 6, 40);
  p.range.begin = draw(random, 0, p.shape.n / 16) * 16;
  const int64_t panels = draw(random, 0, (p.shape.n - p.range.begin + 15) / 16);
  p.range.end = std::min(p.range.begin + 16 * panels, p.shape.n);
  return p;
}

void expect_equal_to_reference(CpuLevel level, Kind kind, const RandomProduct& p, int seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  const CaseMaker maker(kind, p.shape, random);
  const PackedMatrix& w = maker.made.packed;
  ASSERT_EQ(maker.made.status, Status::kOk);
  const int64_t planes = seed % 3 == 2 ? 3 : 1;
  QuantizedCase x = quantized_case(planes * p.m, w, p.worst, draw(random, 0, 63), random);
  x.rows.m = p.m;
  x.rows.planes = planes;
  std::vector<float> expected(static_cast<size_t>(p.m * w.n), -7.0f), y = expected;
  ASSERT_EQ(matmul_a8_reference(w, x.rows, p.range, expected.data()), Status::kOk);
  ASSERT_EQ(matmul_a8(w, x.rows, p.range, y.data(), level), Status::kOk);
  ASSERT_EQ(y, expected) << "kind " << static_cast<int>(kind) << ", m " << p.m << ", n " << w.n
                         << ", k " << w.k << ", group " << w.group << ", outputs " << p.range.begin
                         << " .. " << p.range.end << ", seed " << seed;
}

TEST_P(Matmul, EightBitActivationsGiveTheReferencesBitsForTenThousandRandomShapes) {
  std::mt19937 random(5);
  for (int i = 0; i < 10000 && !HasFatalFailure(); ++i)
    expect_equal_to_reference(
        GetParam(), static_cast<Kind>(i % kWholeKinds), random_product(random), i);
}

TEST_P(Matmul, WholeSumsStayExactForTheLongestRowsAndTheLargestCodes) {
  for (int kind = 0; kind < kWholeKinds && !HasFatalFailure(); ++kind) {
    for (const int64_t m : {1, 3}) {
      RandomProduct p{{18, 16384, 16384}, m, {0, 18}, true};
      p.shape.worst = true;
      expect_equal_to_reference(GetParam(), static_cast<Kind>(kind), p, kind);
      p.shape = {18, 2176, 1088, false, true, 1};
      expect_equal_to_reference(GetParam(), static_cast<Kind>(kind), p, kind);
    }
  }
}

TEST_P(Matmul, ManyTokensGiveTheReferencesBits) {
  std::mt19937 random(6);
  for (const int64_t m : {95, 97, 193}) {
    const RandomProduct p{{80, 1040, 1040}, m, {0, 80}, false};
    expect_equal_to_reference(GetParam(), Kind::kTernary, p, static_cast<int>(m));
    expect_equal_to_reference(GetParam(), Kind::kDintAsym, p, static_cast<int>(m));
    expect_equal_to_reference(GetParam(), Kind::kInt8, p, static_cast<int>(m));
  }
}

/// What matmul.h promises of output n for one token x.
double bound_of(const PackedCase& w, const float* x, int64_t n) {
  double products = 0, weights = 0, largest = 0;
  for (int64_t i = 0; i < w.codes.k; ++i) {
    products += std::abs(double{w.value(n, i)} * x[i]);
    weights += std::abs(w.value(n, i));
    largest = std::max(largest, std::abs(double{x[i]}));
  }
  const auto k = static_cast<double>(w.codes.k), groups = static_cast<double>(w.packed.groups());
  return 0x1p-24 * (w.packed.whole() ? (groups + 12) * largest * weights : (k + 4) * products);
}

TEST_P(Matmul, FloatActivationsStayWithinTheStatedBound) {
  std::mt19937 random(7);
  for (int i = 0; i < 600; ++i) {
    const RandomProduct p = random_product(random);
    const CaseMaker maker(static_cast<Kind>(i % kKinds), p.shape, random);
    const PackedMatrix& w = maker.made.packed;
    const auto x = heavy_tailed(p.m * w.k, static_cast<uint32_t>(i));
    std::vector<float> y(static_cast<size_t>(p.m * w.n), -7.0f), expected = y;
    ASSERT_EQ(matmul_a16_reference(w, p.m, x.data(), p.range, expected.data()), Status::kOk);
    ASSERT_EQ(matmul_a16(w, p.m, x.data(), p.range, y.data(), GetParam()), Status::kOk);
    for (int64_t m = 0; m < p.m; ++m) {
      for (int64_t n = 0; n < w.n; ++n) {
        const auto at = static_cast<size_t>(m * w.n + n);
        const double bound = bound_of(maker.made, x.data() + m * w.k, n);
        ASSERT_NEAR(y[at], expected[at], bound) << "shape " << i << ", output " << n;
      }
    }
  }
}

TEST_P(Matmul, RefusesShapesThatDoNotFit) {
  std::mt19937 random(8);
  const CaseMaker maker(Kind::kTernary, {40, 64, 32}, random);
  const PackedMatrix& w = maker.made.packed;
  const QuantizedCase x = quantized_case(2, w, false, 0, random);
  std::vector<float> y(80);
  const auto run = [&](QuantizedRows rows, OutputRange range) {
    return matmul_a8(w, rows, range, y.data(), GetParam());
  };
  EXPECT_EQ(run(x.rows, {0, 40}), Status::kOk);
  EXPECT_EQ(run(x.rows, {16, 32}), Status::kOk);
  EXPECT_EQ(run(x.rows, {8, 40}), Status::kInvalidShape);
  EXPECT_EQ(run(x.rows, {0, 39}), Status::kInvalidShape);
  EXPECT_EQ(run(x.rows, {0, 48}), Status::kInvalidShape);
  EXPECT_EQ(run(x.rows, {32, 16}), Status::kInvalidShape);
  QuantizedRows other = x.rows;
  other.group = 64;
  EXPECT_EQ(run(other, {0, 40}), Status::kInvalidShape);
  const CaseMaker table(Kind::kNormal4, {40, 64, 32}, random);
  EXPECT_EQ(matmul_a8(table.made.packed, x.rows, {0, 40}, y.data(), GetParam()),
            Status::kUnsupported);
}

STERNA_ON_EVERY_CPU(Matmul);

}  // namespace
}  // namespace sterna::kernels
