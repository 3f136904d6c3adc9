// quant::Linear against ATen's own autograd.

#include "quant/linear.h"

#include <gtest/gtest.h>

#include "tests/quant/quantizer_support.h"
#include "tests/support/relative.h"

namespace sterna::quant {
namespace {

using tests::relative;

Linear linear_of(at::ScalarType dtype, bool bias = true) {
  Linear l;
  l.name = "model.layers.0.mlp.up_proj";
  l.weight = heavy({6, 10}, 1).to(dtype);
  if (bias) {
    l.bias = heavy({6}, 2);
    l.bias_grad = at::zeros({6});
  }
  l.grad = at::zeros({6, 10});
  return l;
}

TEST(Linear, AgreesWithAutogradInFp32) {
  Linear l = linear_of(at::kFloat);
  const Tensor x = heavy({2, 5, 10}, 3).requires_grad_();
  const Tensor dy = heavy({2, 5, 6}, 4);
  l.forward(x).backward(dy);

  const Tensor x2 = x.detach().to(at::kDouble).requires_grad_();
  const Tensor w2 = l.weight.to(at::kDouble).requires_grad_();
  const Tensor b2 = l.bias.detach().to(at::kDouble).requires_grad_();
  at::linear(x2, w2, b2).backward(dy.to(at::kDouble));
  EXPECT_LT(relative(l.grad, w2.grad()), 1e-6);
  EXPECT_LT(relative(x.grad(), x2.grad()), 1e-6);
  EXPECT_LT(relative(l.bias_grad, b2.grad()), 1e-6);
}

TEST(Linear, InBf16AddsMicroBatchesInFp32) {
  Linear l = linear_of(at::kBFloat16);
  Tensor expected = at::zeros({6, 10}, at::kDouble);
  double largest = 0;
  for (uint64_t batch = 0; batch < 64; ++batch) {
    const Tensor x = heavy({16, 10}, 100 + batch).to(at::kBFloat16).requires_grad_();
    const Tensor dy = heavy({16, 6}, 200 + batch).to(at::kBFloat16);
    const Tensor y = l.forward(x);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    y.backward(dy);
    const Tensor part = dy.to(at::kDouble).t().mm(x.detach().to(at::kDouble));
    largest = std::max(largest, part.abs().max().item<double>());
    expected += part;
    EXPECT_LT(relative(x.grad(), dy.to(at::kDouble).mm(l.weight.to(at::kDouble))), 4e-3);
  }
  // Every product may be rounded to bf16 once (2^-9 relative); a bf16 sum would be wrong by more.
  EXPECT_LT(relative(l.grad, expected), 3e-3);
  EXPECT_EQ(l.grad.scalar_type(), at::kFloat);
  // A contribution far below the buffer's bf16 resolution must still count.
  l.grad.fill_(1.0);
  const Tensor x = at::full({1, 10}, 1.0 / 1024, at::kBFloat16).requires_grad_();
  l.forward(x).backward(at::ones({1, 6}, at::kBFloat16));
  EXPECT_TRUE(at::equal(l.grad, at::full({6, 10}, 1.0 + 1.0 / 1024)));
}

TEST(Linear, TrainsItsWeightWhenNothingElseAsksForAGradient) {
  Linear l = linear_of(at::kFloat, /*bias=*/false);
  const Tensor x = heavy({4, 10}, 5);
  l.forward(x).sum().backward();
  EXPECT_LT(relative(l.grad, at::ones({6, 1}).mm(x.sum(0, true))), 1e-6);
}

TEST(Linear, AFrozenOneKeepsNoActivationAndMakesNoGraph) {
  Linear l = linear_of(at::kFloat, /*bias=*/false);
  l.grad = Tensor();
  EXPECT_FALSE(l.forward(heavy({4, 10}, 5)).requires_grad());
  const Tensor x = heavy({4, 10}, 5).requires_grad_();
  Tensor inner = x * 2.0;
  const Tensor y = l.forward(inner);
  const auto uses = inner.use_count();
  EXPECT_EQ(uses, 1u) << "x was saved although the weight is frozen";
  y.sum().backward();
  EXPECT_LT(relative(x.grad(), 2.0 * l.weight.sum(0, true).expand({4, 10})), 1e-6);
}

TEST(Linear, GivesNoGraphWithoutGradMode) {
  const at::NoGradGuard guard;
  EXPECT_FALSE(linear_of(at::kFloat).forward(heavy({4, 10}, 5)).requires_grad());
}

TEST(Linear, AnEmptyBatchLeavesTheGradientAlone) {
  Linear l = linear_of(at::kFloat);
  const Tensor x = at::empty({0, 10}).requires_grad_();
  const Tensor y = l.forward(x);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({0, 6}));
  y.sum().backward();
  EXPECT_EQ(l.grad.abs().max().item<float>(), 0.0f);
  EXPECT_EQ(l.bias_grad.abs().max().item<float>(), 0.0f);
}

TEST(Linear, RefusesAnInputOfAnotherWidthOrDtypeByName) {
  const Linear l = linear_of(at::kFloat);
  for (const Tensor& x : {at::zeros({2, 9}), at::zeros({2, 10}, at::kBFloat16)}) {
    try {
      l.forward(x);
      FAIL() << "accepted " << x.sizes() << " " << x.scalar_type();
    } catch (const c10::Error& e) {
      EXPECT_NE(std::string(e.what()).find("up_proj"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace sterna::quant
