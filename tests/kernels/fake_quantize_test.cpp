// Rounding of activations against a plain loop.
#include "kernels/fake_quantize.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace sterna::kernels {
namespace {

float reference(float x, const ActGrid& grid) {
  const float v = (x - grid.origin) * grid.inverse;
  const float code = std::nearbyint(std::min(std::max(v, grid.lo), grid.hi));
  return code * grid.step + grid.origin;
}

TEST(FakeQuantize, IsAPlainLoopAtEveryLengthInPlaceToo) {
  for (const ActGrid& grid : {ActGrid{0, 4, 0.25f, -7, 7}, ActGrid{-1.5f, 2, 0.5f, 0, 15}}) {
    for (int64_t n = 0; n <= 40; ++n) {
      std::vector<float> x(static_cast<size_t>(n) + 1, 99);
      for (int64_t i = 0; i < n; ++i)
        x[static_cast<size_t>(i)] =
            0.125f * static_cast<float>(i * 7 % 40 - 20);  // ties among them
      std::vector<float> y(x.size(), -1);
      fake_quantize(x.data(), n, grid, y.data());
      EXPECT_EQ(y.back(), -1) << "beyond the end";
      for (int64_t i = 0; i < n; ++i)
        EXPECT_EQ(y[static_cast<size_t>(i)], reference(x[static_cast<size_t>(i)], grid)) << i;
      fake_quantize(x.data(), n, grid, x.data());
      EXPECT_TRUE(std::equal(x.begin(), x.begin() + n, y.begin()));
    }
  }
}

TEST(FakeQuantize, KeepsNaNAndClampsInfinity) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> x{NAN, kInf, -kInf, 1e30f};
  fake_quantize(x.data(), 4, {0, 4, 0.25f, -7, 6}, x.data());
  EXPECT_TRUE(std::isnan(x[0]));
  EXPECT_EQ(x[1], 1.5f);
  EXPECT_EQ(x[2], -1.75f);
  EXPECT_EQ(x[3], 1.5f);
}

}  // namespace
}  // namespace sterna::kernels
