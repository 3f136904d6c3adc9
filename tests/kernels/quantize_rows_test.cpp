#include "kernels/quantize_rows.h"

#include <cmath>
#include <numeric>

#include "kernels/norm.h"
#include "kernels/row_reduce.h"
#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

struct Quantized {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;

  Quantized(int64_t m, int64_t k, int64_t group)
      : codes(static_cast<size_t>(m * activation_stride(k)), 99),
        scales(static_cast<size_t>(m)),
        sums(static_cast<size_t>(m * (k / group))) {}
  QuantizedBuffers buffers() { return {codes.data(), scales.data(), sums.data()}; }
};

/// What quant's per_token makes of a row.
ActGrid per_token(const float* x, int64_t k, float top, float clip) {
  const MinMax ends = min_max(x, k);
  const float reach = std::max(-std::max(ends.min, -clip), std::min(ends.max, clip));
  const float m = std::max(reach, 1e-5f);
  return {0, top / m, m / top, -top, top};
}

TEST(QuantizeRows, CodesTimesScaleAreWhatPerTokenActivationsTrainWith) {
  for (const int64_t k : {1, 7, 64, 100, 576}) {
    for (const float clip : {INFINITY, 1.5f}) {
      for (const float top : {127.0f, 7.0f}) {
        auto x = heavy_tailed(4 * k, static_cast<uint32_t>(k));
        std::fill(x.begin() + k, x.begin() + 2 * k, 0.0f);
        Quantized q(4, k, k);
        ASSERT_EQ(quantize_rows({4, k, k}, x.data(), {top, clip}, nullptr, q.buffers()),
                  Status::kOk);
        std::vector<float> expected(static_cast<size_t>(k));
        for (int64_t m = 0; m < 4; ++m) {
          const float* row = x.data() + m * k;
          fake_quantize(row, k, per_token(row, k, top, clip), expected.data());
          const int8_t* codes = q.codes.data() + m * activation_stride(k);
          for (int64_t i = 0; i < k; ++i)
            ASSERT_EQ(codes[i] * q.scales[static_cast<size_t>(m)], expected[static_cast<size_t>(i)])
                << "k " << k << ", token " << m << ", input " << i;
          for (int64_t i = k; i < activation_stride(k); ++i)
            ASSERT_EQ(codes[i], 0);
          ASSERT_EQ(q.sums[static_cast<size_t>(m)], std::accumulate(codes, codes + k, 0));
        }
      }
    }
  }
}

TEST(QuantizeRows, SumsAreOfEachGroup) {
  const auto x = heavy_tailed(96, 1);
  Quantized q(1, 96, 32);
  ASSERT_EQ(quantize_rows({1, 96, 32}, x.data(), {}, nullptr, q.buffers()), Status::kOk);
  for (size_t g = 0; g < 3; ++g)
    EXPECT_EQ(q.sums[g], std::accumulate(&q.codes[g * 32], &q.codes[g * 32] + 32, 0));
}

TEST(QuantizeRows, NanAndInfinityShowInTheScale) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x(40, 1.0f);
    x[23] = bad;
    Quantized q(2, 20, 20);
    ASSERT_EQ(quantize_rows({2, 20, 20}, x.data(), {}, nullptr, q.buffers()), Status::kOk);
    EXPECT_EQ(q.scales[0], 1.0f / 127);
    EXPECT_TRUE(std::isnan(q.scales[1])) << bad;
  }
}

TEST(QuantizeRows, GridsOfTheCallersAreObeyedWhereTheirCodesFit) {
  const std::vector<float> x{-3, -0.6f, 0.4f, 0.6f, 3};
  Quantized q(1, 5, 5);
  const ActGrid grid{0, 2, 0.5f, -4, 3};
  ASSERT_EQ(quantize_rows({1, 5, 5}, x.data(), {}, &grid, q.buffers()), Status::kOk);
  EXPECT_EQ(std::vector<int8_t>(q.codes.begin(), q.codes.begin() + 5),
            (std::vector<int8_t>{-4, -1, 1, 1, 3}));
  EXPECT_EQ(q.scales[0], 0.5f);
  const ActGrid wide{0, 2, 0.5f, 0, 255}, shifted{1, 2, 0.5f, -4, 3};
  EXPECT_EQ(quantize_rows({1, 5, 5}, x.data(), {}, &wide, q.buffers()), Status::kUnsupported);
  EXPECT_EQ(quantize_rows({1, 5, 5}, x.data(), {}, &shifted, q.buffers()), Status::kUnsupported);
  EXPECT_EQ(quantize_rows({1, 5, 2}, x.data(), {}, nullptr, q.buffers()), Status::kInvalidShape);
}

TEST(SplitRows, ThreeDigitsMakeTheActivationToTwentyTwoBits) {
  for (const int64_t k : {1, 20, 100}) {
    for (const float scale : {1.0f, 1e-20f, 1e30f}) {
      const auto x = heavy_tailed(2 * k, static_cast<uint32_t>(k), scale);
      Quantized q(6, k, k);
      ASSERT_EQ(split_rows({2, k, k}, x.data(), q.buffers()), Status::kOk);
      for (int64_t m = 0; m < 2; ++m) {
        const MinMax ends = min_max(x.data() + m * k, k);
        const double reach = std::max(-ends.min, ends.max);
        for (int64_t i = 0; i < k; ++i) {
          double value = 0;
          for (int64_t row = 3 * m; row < 3 * m + 3; ++row)
            value += double{q.scales[static_cast<size_t>(row)]} *
                     q.codes[static_cast<size_t>(row * activation_stride(k) + i)];
          ASSERT_NEAR(value, x[static_cast<size_t>(m * k + i)], reach * 0x1p-22);
        }
      }
      const auto at = static_cast<size_t>(4 * activation_stride(k));
      EXPECT_EQ(q.sums[4], std::accumulate(&q.codes[at], &q.codes[at] + k, 0));
    }
  }
}

TEST(SplitRows, NanAndInfinityShowInTheScale) {
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> x(20, 1.0f);
    x[3] = bad;
    Quantized q(3, 20, 20);
    ASSERT_EQ(split_rows({1, 20, 20}, x.data(), q.buffers()), Status::kOk);
    EXPECT_TRUE(std::isnan(q.scales[0])) << bad;
  }
}

class QuantizeNormedRows : public EveryCpu {};

TEST_P(QuantizeNormedRows, AreTheQuantizedRowsOfTheNorm) {
  for (const int64_t k : {1, 57, 576}) {
    const auto x = heavy_tailed(3 * k, 1), weight = heavy_tailed(k, 2);
    std::vector<float> y(x.size()), rstd(3);
    rms_norm(NormShape{3, k, 1e-5f}, x.data(), weight.data(), y.data(), rstd.data(), GetParam());
    Quantized expected(3, k, k), q(3, k, k);
    quantize_rows({3, k, k}, y.data(), {}, nullptr, expected.buffers());
    ASSERT_EQ(rms_norm_quantize_rows(
                  {3, k, k}, x.data(), weight.data(), 1e-5f, {}, q.buffers(), GetParam()),
              Status::kOk);
    EXPECT_EQ(q.codes, expected.codes);
    EXPECT_EQ(q.scales, expected.scales);
    EXPECT_EQ(q.sums, expected.sums);
  }
}

STERNA_ON_EVERY_CPU(QuantizeNormedRows);

}  // namespace
}  // namespace sterna::kernels
