// Row statistics against plain fp64 loops, and their fixed order.

#include "kernels/row_reduce.h"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace sterna::kernels {
namespace {

std::vector<float> heavy(int64_t n, unsigned seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x)
    v = std::pow(normal(bits), 3.0f);
  return x;
}

TEST(RowReduce, AgreesWithFp64OnEveryLength) {
  for (const int64_t n : {0, 1, 2, 15, 16, 17, 31, 64, 576, 1000, 4097}) {
    const auto x = heavy(n, static_cast<unsigned>(n));
    double sum_all = 0, sum_magnitude = 0, sum_kept = 0;
    float low = n > 0 ? x[0] : 0, high = low;
    int64_t kept = 0;
    for (const float v : x) {
      const float magnitude = std::min(std::fabs(v), 2.5f);
      sum_all += v;
      sum_magnitude += magnitude;
      if (magnitude > 0.5f) {
        sum_kept += magnitude;
        ++kept;
      }
      low = std::min(low, v);
      high = std::max(high, v);
    }
    const double bound = 2e-6 * std::max(1.0, sum_magnitude * 4);
    EXPECT_NEAR(sum(x.data(), n), sum_all, bound) << n;
    EXPECT_NEAR(sum_abs(x.data(), n, 2.5f), sum_magnitude, bound) << n;
    EXPECT_EQ(min_max(x.data(), n).min, low) << n;
    EXPECT_EQ(min_max(x.data(), n).max, high) << n;
    const Kept found = sum_abs_above(x.data(), n, 2.5f, 0.5f);
    EXPECT_EQ(found.count, kept) << n;
    EXPECT_NEAR(found.sum, sum_kept, bound) << n;
  }
}

TEST(RowReduce, AddsSixteenLanesByAFixedTree) {
  const int64_t n = 83;
  const auto x = heavy(n, 5);
  float lanes[16] = {};
  for (int64_t i = 0; i < n; ++i)
    lanes[i % 16] += x[static_cast<size_t>(i)];
  for (int width = 8; width > 0; width /= 2)
    for (int j = 0; j < width; ++j)
      lanes[j] += lanes[j + width];
  EXPECT_EQ(sum(x.data(), n), lanes[0]);
}

}  // namespace
}  // namespace sterna::kernels
