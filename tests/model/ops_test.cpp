// Single operations against plain ATen in fp64, over more rows than one piece of work holds.
#include "trainer/model/ops.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/support/relative.h"

namespace sterna::model {
namespace {

using tests::relative;

// Rows of dtype `from`, results of dtype `to`.
using Types = std::pair<at::ScalarType, at::ScalarType>;

class Norm : public testing::TestWithParam<Types> {};

TEST_P(Norm, ValuesAndGradientsEqualDoublePrecisionUpToRounding) {
  const auto [from, to] = GetParam();
  const bool narrow = from != at::kFloat || to != at::kFloat;
  at::manual_seed(1);
  Tensor rows = at::randn({7, 59, 33}).pow(3);
  rows[0][0].zero_();
  RmsNorm norm{at::randn({33}), at::zeros({33}), 1e-5};
  const Tensor x = rows.to(from).requires_grad_();
  const Tensor wide = x.detach().to(at::kDouble).requires_grad_();
  const Tensor weight = norm.weight.to(at::kDouble).requires_grad_();
  const Tensor y = norm.forward(x, to);
  EXPECT_EQ(y.scalar_type(), to);
  const Tensor expected = wide * (wide.square().mean(-1, true) + 1e-5).rsqrt() * weight;
  const Tensor upstream = at::randn(y.sizes()).to(to);
  y.backward(upstream);
  expected.backward(upstream.to(at::kDouble));
  EXPECT_LT(relative(y.detach(), expected.detach()), narrow ? 5e-3 : 1e-6);
  EXPECT_LT(relative(x.grad(), wide.grad()), narrow ? 5e-3 : 1e-5);
  EXPECT_LT(relative(norm.grad, weight.grad()), narrow ? 5e-3 : 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Dtypes,
                         Norm,
                         testing::Values(Types{at::kFloat, at::kFloat},
                                         Types{at::kFloat, at::kBFloat16},
                                         Types{at::kBFloat16, at::kBFloat16},
                                         Types{at::kHalf, at::kHalf}));  // the path without kernels

TEST(Norm, AnEmptyBatchStaysEmptyAndLeavesTheGradientAlone) {
  RmsNorm norm{at::ones({8}), at::zeros({8}), 1e-5};
  const Tensor x = at::empty({0, 8}).requires_grad_();
  norm.forward(x, at::kFloat).sum().backward();
  EXPECT_EQ(norm.grad.abs().max().item<float>(), 0.0f);
}

class Layer : public testing::TestWithParam<Types> {};

TEST_P(Layer, NormValuesAndGradientsEqualDoublePrecisionUpToRounding) {
  const auto [from, to] = GetParam();
  const bool narrow = from != at::kFloat || to != at::kFloat;
  at::manual_seed(1);
  Tensor rows = at::randn({7, 59, 33}).pow(3) + 2;
  rows[0][0].zero_();
  LayerNorm norm{at::randn({33}), at::randn({33}), at::ones({33}), at::zeros({33}), 1e-5};
  const Tensor x = rows.to(from).requires_grad_();
  const Tensor wide = x.detach().to(at::kDouble).requires_grad_();
  const Tensor weight = norm.weight.to(at::kDouble).requires_grad_();
  const Tensor bias = norm.bias.to(at::kDouble).requires_grad_();
  const Tensor y = norm.forward(x, to);
  EXPECT_EQ(y.scalar_type(), to);
  const Tensor centred = wide - wide.mean(-1, true);
  const Tensor expected =
      centred * (centred.square().mean(-1, true) + 1e-5).rsqrt() * weight + bias;
  const Tensor upstream = at::randn(y.sizes()).to(to);
  y.backward(upstream);
  expected.backward(upstream.to(at::kDouble));
  EXPECT_LT(relative(y.detach(), expected.detach()), narrow ? 5e-3 : 1e-6);
  EXPECT_LT(relative(x.grad(), wide.grad()), narrow ? 5e-3 : 1e-5);
  EXPECT_LT(relative(norm.grad - 1, weight.grad()), narrow ? 5e-3 : 1e-5)
      << "added to what was there";
  EXPECT_LT(relative(norm.bias_grad, bias.grad()), narrow ? 5e-3 : 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Dtypes,
                         Layer,
                         testing::Values(Types{at::kFloat, at::kFloat},
                                         Types{at::kFloat, at::kBFloat16},
                                         Types{at::kBFloat16, at::kBFloat16}));

TEST(Layer, NormGradientsDoNotDependOnTheNumberOfThreads) {
  std::vector<Tensor> found;
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    at::manual_seed(4);
    LayerNorm norm{at::randn({20}), at::randn({20}), at::zeros({20}), at::zeros({20}), 1e-5};
    const Tensor x = at::randn({8, 300, 20}).pow(3);
    norm.forward(x, at::kFloat).pow(2).sum().backward();
    found.push_back(at::cat({norm.grad, norm.bias_grad}));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(found[0], found[1]));
}

TEST(SiluMul, ValuesAndGradientsEqualDoublePrecisionUpToRounding) {
  at::manual_seed(2);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor gate = at::randn({3, 9001}).pow(3).to(dtype).requires_grad_();
    const Tensor up = at::randn({3, 9001}).to(dtype).requires_grad_();
    const Tensor g = gate.detach().to(at::kDouble).requires_grad_();
    const Tensor u = up.detach().to(at::kDouble).requires_grad_();
    const Tensor upstream = at::randn({3, 9001}).to(dtype);
    silu_mul(gate, up).backward(upstream);
    (at::silu(g) * u).backward(upstream.to(at::kDouble));
    const double tolerance = dtype == at::kFloat ? 1e-6 : 5e-3;
    EXPECT_LT(relative(silu_mul(gate, up).detach(), (at::silu(g) * u).detach()), tolerance);
    EXPECT_LT(relative(gate.grad(), g.grad()), tolerance);
    EXPECT_LT(relative(up.grad(), u.grad()), tolerance);
  }
}

TEST(EmbedRows, RepeatedTokensAddUpInFp32) {
  const Tensor matrix = at::arange(12.0f).view({4, 3}).to(at::kBFloat16);
  const Tensor grad = at::ones({4, 3});
  const Tensor tokens = at::tensor({2, 0, 2, 2}, at::kLong).view({2, 2});
  const Tensor x = embed_rows(tokens, matrix, grad);
  EXPECT_TRUE(at::equal(x[1][0], matrix[2]));
  x.backward(at::full({2, 2, 3}, 0.00390625, at::kBFloat16));  // 2^-8: lost where bf16 adds
  EXPECT_TRUE(at::equal(grad.select(1, 0), at::tensor({1 + 1 / 256.f, 1.f, 1 + 3 / 256.f, 1.f})));
}

}  // namespace
}  // namespace sterna::model
