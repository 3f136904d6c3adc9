#include "kernels/activation.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

using Activation = EveryCpu;

TEST_P(Activation, TheExponentialIsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> x;
  for (float at = -87; at < 88.7f; at += 0.00137f)
    x.push_back(at);
  std::vector<float> y(x.size());
  exponential(x.data(), y.data(), static_cast<int64_t>(x.size()), GetParam());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const float nearest = static_cast<float>(exact);
    const double unit = std::nextafter(nearest, std::numeric_limits<float>::infinity()) - nearest;
    worst = std::max(worst, std::abs(y[i] - exact) / unit);
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  EXPECT_LE(worst, 2.0);
  EXPECT_GT(worst, 0.5);  // the measure itself works: no float function rounds all right
}

TEST_P(Activation, TheExponentialKeepsItsEnds) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{0.0f, -inf, inf, -1e30f, 1e30f, std::nanf(""), -100.0f, -0.0f};
  std::vector<float> y(x.size());
  exponential(x.data(), y.data(), static_cast<int64_t>(x.size()), GetParam());
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], inf);
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_EQ(y[4], inf);
  EXPECT_TRUE(std::isnan(y[5]));
  EXPECT_NEAR(y[6], std::exp(-100.0), 1.5e-45);  // subnormal: half a step
  EXPECT_EQ(y[7], 1.0f);
}

template <class T>
void expect_silu_mul(CpuLevel level, int64_t size) {
  const auto gate = as<T>(heavy_tailed(size, 1, 3));
  const auto up = as<T>(heavy_tailed(size, 2, 3));
  const auto dy = as<T>(heavy_tailed(size, 3));
  std::vector<T> y(gate.size()), d_gate(gate.size()), d_up(gate.size());
  silu_mul(gate.data(), up.data(), y.data(), size, level);
  silu_mul_backward<T>(
      {dy.data(), gate.data(), up.data(), d_gate.data(), d_up.data()}, size, level);
  for (size_t i = 0; i < y.size(); ++i) {
    const double g = widen(gate[i]), u = widen(up[i]), d = widen(dy[i]);
    const double s = 1 / (1 + std::exp(-g));
    const auto near = [&](T got, double want, const char* what) {
      EXPECT_NEAR(widen(got), want, 2 * kRounding<T> * std::abs(want) + 1e-30) << what << i;
    };
    near(y[i], g * s * u, "y ");
    near(d_up[i], d * g * s, "d_up ");
    const double slope = s * (1 + g * (1 - s));
    EXPECT_NEAR(widen(d_gate[i]), d * u * slope, kRounding<T> * std::abs(d * u) + 1e-30) << i;
  }
}

TEST_P(Activation, SiluMulAndItsGradientAgreeWithTheDefinition) {
  for (const int64_t size : {0, 1, 15, 16, 33, 1000}) {
    expect_silu_mul<float>(GetParam(), size);
    expect_silu_mul<Bf16>(GetParam(), size);
  }
}

TEST_P(Activation, SiluOfFarNegativeGatesIsZeroNotNan) {
  const std::vector<float> gate{-200.0f, -3e4f, 0.0f, 3e4f}, up(4, 2.0f), dy(4, 1.0f);
  std::vector<float> y(4), d_gate(4), d_up(4);
  silu_mul(gate.data(), up.data(), y.data(), 4, GetParam());
  EXPECT_EQ(y, (std::vector<float>{0.0f, 0.0f, 0.0f, 6e4f}));
  silu_mul_backward<float>(
      {dy.data(), gate.data(), up.data(), d_gate.data(), d_up.data()}, 4, GetParam());
  EXPECT_EQ(d_gate, (std::vector<float>{0.0f, 0.0f, 1.0f, 2.0f}));
}

STERNA_ON_EVERY_CPU(Activation);

}  // namespace
}  // namespace sterna::kernels
