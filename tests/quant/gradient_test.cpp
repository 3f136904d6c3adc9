// backward() against autograd through a twin of the forward pass, and against finite differences.

#include <cmath>

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "tests/quant/gradient_cases.h"
#include "tests/quant/twins.h"

namespace sterna::quant {
namespace {

TEST(Backward, OfAffineLearnedEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16", "fp16"}))
    for (const int64_t bits : {2, 3, 4, 8}) {
      const Tensor w = weight();
      const Tensor g = heavy(w.sizes(), 4);
      const auto affine = make("affine_learned", s.fields() + ", bits = " + std::to_string(bits));
      affine->init(w);
      // Away from the initial values, so that weights lie outside on both sides.
      Tensor scale = affine->parameters()[0].tensor;
      Tensor zero = affine->parameters()[1].tensor;
      scale.mul_(normal(scale.sizes(), 5).mul(0.2).exp() * 0.6);
      zero.add_(normal(zero.sizes(), 6));

      const Tensor x = exact(by_scale(w, s.group));
      const Tensor scale2 = exact(scale.reshape({-1, 1}));
      const Tensor zero2 = exact(zero.reshape({-1, 1}));
      const Tensor wq = twins::affine(x, scale2, zero2, bits, s.type());
      (wq * by_scale(g, s.group)).sum().backward();

      const std::string where = s.fields() + " bits " + std::to_string(bits);
      const Gradients back = affine->backward(w, g);
      EXPECT_LT(error(decode(affine->encode(w)), wq.detach().reshape(w.sizes())), 1e-6) << where;
      EXPECT_LT(error(back.w, x.grad().reshape(w.sizes())), 1e-5) << where;
      EXPECT_LT(error(back.params[0], scale2.grad().reshape(scale.sizes())), 1e-5) << where;
      EXPECT_LT(error(back.params[1], zero2.grad().reshape(zero.sizes())), 1e-5) << where;
    }
}

TEST(Backward, OfSeqEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16", "fp16"}))
    for (const bool four : {true, false}) {
      const Tensor w = weight();
      const Tensor g = heavy(w.sizes(), 4);
      const auto seq =
          make("seq", s.fields() + ", saturation = \"exact\", bits = " + (four ? "2" : "0"));
      seq->init(w);
      Tensor alpha = seq->parameters()[0].tensor;
      alpha.mul_(normal(alpha.sizes(), 5).mul(0.2).exp() * 0.4);

      const Tensor x = exact(by_scale(w, s.group));
      const Tensor alpha2 = exact(alpha.reshape({-1, 1}));
      const Tensor wq = twins::stretched(x, alpha2, four, w.numel(), s.type());
      (wq * by_scale(g, s.group)).sum().backward();

      const std::string where = s.fields() + (four ? " four" : " three");
      const Gradients back = seq->backward(w, g);
      EXPECT_LT(error(decode(seq->encode(w)), wq.detach().reshape(w.sizes())), 1e-6) << where;
      EXPECT_LT(error(back.w, x.grad().reshape(w.sizes())), 1e-5) << where;
      EXPECT_LT(error(back.params[0], alpha2.grad().reshape(alpha.sizes())), 1e-5) << where;
    }
}

TEST(Backward, OfTheStatisticSchemesIsTheClippedIdentity) {
  const Tensor w = weight();
  const Tensor g = heavy(w.sizes(), 4);
  for (const Setting& s : settings({"fp32", "bf16", "fp16"})) {
    for (const char* name : {"twn", "minmax_sym"}) {
      const auto clipped = make(name, s.fields() + ", clip_val = 2.5");
      const Tensor x = w.clone().requires_grad_();
      const Tensor wq = twins::clipped_identity(x, decode(clipped->encode(w)), 2.5);
      (wq * g).sum().backward();
      EXPECT_TRUE(at::equal(clipped->backward(w, g).w, x.grad())) << name;
      // Clamping first is what the values show as well.
      const auto plain = make(name, s.fields());
      EXPECT_TRUE(at::equal(decode(clipped->encode(w)), decode(plain->encode(w.clamp(-2.5, 2.5)))))
          << name;
    }
    for (const char* name : {"twn", "minmax_sym", "minmax_asym"})
      EXPECT_TRUE(at::equal(make(name, s.fields())->backward(w, g).w, g)) << name;
  }
}

/// d loss / d scale of the surrogate in which round(v) is v + a constant, by central differences.
double difference(const std::function<double(double)>& loss, double at) {
  const double h = 1e-5 * std::max(1.0, std::abs(at));
  return (loss(at + h) - loss(at - h)) / (2 * h);
}

TEST(Backward, OfALearnedScaleIsTheSlopeOfTheSurrogate) {
  const Tensor w = normal({1, 64}, 7);
  const Tensor g = normal({1, 64}, 8);
  const auto wd = w.to(at::kDouble);
  const auto gd = g.to(at::kDouble);

  const auto affine = make("affine_learned", "scale_dtype = \"fp32\", bits = 3, group = 0");
  affine->init(w);
  Tensor scale = affine->parameters()[0].tensor;
  scale.mul_(0.5);
  const double s0 = scale.item<float>();
  const double z0 = std::round(affine->parameters()[1].tensor.item<float>());
  const Tensor rounded = (wd / s0).round() + z0;
  const Tensor constant = rounded - z0 - wd / s0;
  // Rounded weights lie on the very edges of the clamp: who is inside is held as well.
  const Tensor inside = (rounded >= 0).logical_and(rounded <= 7);
  const auto affine_loss = [&](double s, double z) {
    const Tensor q = at::where(inside, wd / s + constant + z, rounded.clamp(0, 7));
    return ((q - z) * s * gd).sum().item<double>();
  };
  ASSERT_GT(inside.logical_not().sum().item<int64_t>(), 5);
  const Gradients of_affine = affine->backward(w, g);
  const double ds = difference([&](double s) { return affine_loss(s, z0); }, s0);
  const double dz = difference([&](double z) { return affine_loss(s0, z); }, z0);
  EXPECT_NEAR(of_affine.params[0].item<float>(), ds, 1e-4 * std::abs(ds));
  EXPECT_NEAR(of_affine.params[1].item<float>(), dz, 1e-4 * std::abs(dz));

  const auto seq = make("seq", "scale_dtype = \"fp32\"");
  seq->init(w);
  Tensor alpha = seq->parameters()[0].tensor;
  alpha.mul_(0.6);
  const double a0 = alpha.item<float>();
  const Tensor v0 = (wd / a0).clamp(-0.99, 0.99) * 2 - 0.5;
  const Tensor rounding = v0.round() - v0;
  const auto seq_loss = [&](double a) {
    const Tensor q = ((wd / a).clamp(-0.99, 0.99) * 2 - 0.5 + rounding + 0.5) / 2;
    return (q * a * gd).sum().item<double>() / std::sqrt(64.0);
  };
  const double da = difference(seq_loss, a0);
  EXPECT_NEAR(seq->backward(w, g).params[0].item<float>(), da, 1e-4 * std::abs(da));
}

}  // namespace
}  // namespace sterna::quant
