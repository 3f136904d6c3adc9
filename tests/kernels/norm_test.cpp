#include "kernels/norm.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

using Norm = EveryCpu;

/// y, dx and dweight of one row in double, without the inner rounding; `terms` adds up the sizes of
/// the two terms whose difference dx is.
struct Exact {
  std::vector<double> y, dx, terms, dweight;
};

template <class X, class Y>
Exact exact_row(const X* x, const std::vector<float>& weight, const Y* dy, double eps) {
  const size_t width = weight.size();
  double squares = 0, along = 0;
  for (size_t i = 0; i < width; ++i)
    squares += double{widen(x[i])} * widen(x[i]);
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
  for (size_t i = 0; i < width; ++i)
    along += double{widen(dy[i])} * weight[i] * widen(x[i]) * rstd / static_cast<double>(width);
  Exact exact;
  for (size_t i = 0; i < width; ++i) {
    const double n = widen(x[i]) * rstd;
    exact.y.push_back(n * weight[i]);
    exact.dx.push_back(rstd * (double{widen(dy[i])} * weight[i] - n * along));
    exact.terms.push_back(rstd * (std::abs(widen(dy[i]) * weight[i]) + std::abs(n * along)));
    exact.dweight.push_back(widen(dy[i]) * n);
  }
  return exact;
}

template <class X, class Y>
void expect_norm(CpuLevel level, int64_t rows, int64_t width) {
  const auto x = as<X>(heavy_tailed(rows * width, 1));
  const auto dy = as<Y>(heavy_tailed(rows * width, 2));
  const auto weight = heavy_tailed(width, 3);
  std::vector<Y> y(x.size());
  std::vector<X> dx(x.size());
  std::vector<float> rstd(static_cast<size_t>(rows)), dweight(weight.size(), 10.0f);
  const NormShape shape{rows, width, 1e-5f};
  rms_norm(shape, x.data(), weight.data(), y.data(), rstd.data(), level);
  const NormGrad<X, Y> grad{
      x.data(), weight.data(), rstd.data(), dy.data(), dx.data(), dweight.data()};
  rms_norm_backward(shape, grad, level);
  const double tolerance = 4 * std::max(kRounding<X>, kRounding<Y>);
  std::vector<double> sums(weight.size(), 10.0);
  for (int64_t row = 0; row < rows; ++row) {
    const Exact exact =
        exact_row(x.data() + row * width, weight, dy.data() + row * width, shape.eps);
    for (size_t i = 0; i < weight.size(); ++i) {
      const size_t at = static_cast<size_t>(row * width) + i;
      sums[i] += exact.dweight[i];
      EXPECT_NEAR(widen(y[at]), exact.y[i], tolerance * std::abs(exact.y[i]) + 1e-30);
      EXPECT_NEAR(widen(dx[at]), exact.dx[i], tolerance * exact.terms[i] + 1e-30);
    }
  }
  for (size_t i = 0; i < weight.size(); ++i)
    EXPECT_NEAR(dweight[i], sums[i], tolerance * (std::abs(sums[i]) + 10)) << i;
}

TEST_P(Norm, RmsNormAndItsGradientsAgreeWithTheDefinition) {
  for (const int64_t width : {1, 8, 57, 576}) {
    expect_norm<float, float>(GetParam(), 5, width);
    expect_norm<float, Bf16>(GetParam(), 5, width);
    expect_norm<Bf16, float>(GetParam(), 5, width);
    expect_norm<Bf16, Bf16>(GetParam(), 5, width);
  }
  expect_norm<float, float>(GetParam(), 0, 16);
}

TEST_P(Norm, AZeroRowGivesZerosAndAFiniteGradient) {
  const std::vector<float> x(20, 0.0f), weight(20, 1.0f), dy(20, 1.0f);
  std::vector<float> y(20, 7.0f), dx(20), rstd(1);
  const NormShape shape{1, 20, 1e-5f};
  rms_norm(shape, x.data(), weight.data(), y.data(), rstd.data(), GetParam());
  EXPECT_EQ(y, x);
  const NormGrad<float, float> grad{
      x.data(), weight.data(), rstd.data(), dy.data(), dx.data(), nullptr};
  rms_norm_backward(shape, grad, GetParam());
  for (const float d : dx)
    EXPECT_NEAR(d, 1 / std::sqrt(1e-5), 1e-2);
}

STERNA_ON_EVERY_CPU(Norm);

}  // namespace
}  // namespace sterna::kernels
