// Activation quantizers worked by hand, and where they stand in a linear layer.
#include <gtest/gtest.h>

#include "quant/act_plan.h"
#include "quant/linear.h"
#include "tests/quant/act_support.h"

namespace sterna::quant {
namespace {

void expect_equal(const Tensor& found, const std::vector<float>& expected, double tolerance = 0) {
  EXPECT_LE(largest(found.flatten() - at::tensor(expected)), tolerance) << found;
}

TEST(PerToken, RoundsEachTokenByItsLargest) {
  // 3 bits: top = 3. Row 1: m = 6, step 2: codes 3, -0.5 -> -0 (to even), 1.25 -> 1, -2.5 -> -2.
  // Row 2: m = 0.75, step 0.25: codes -3, 2, 0.
  const auto act = make_act("per_token", "bits = 3");
  expect_equal(act->forward(at::tensor({6.f, -1.f, 2.5f, -5.f, -.75f, .5f, .1f, 0.f}).view({2, 4})),
               {6, 0, 2, -4, -.75f, .5f, 0, 0});
}

TEST(PerToken, AsymmetricLevelsCoverTheRangeAndHoldZero) {
  // 2 bits: n = 3, range [-2, 7]: step 3, zero = round(2 / 3) = 1: levels -3, 0, 3, 6.
  const auto act = make_act("per_token", "bits = 2, symmetric = false");
  expect_equal(act->forward(at::tensor({-2.f, 7.f, 1.f, 4.f})), {-3, 6, 0, 3});
  // All positive: the range begins at 0.
  expect_equal(act->forward(at::tensor({3.f, 1.f, 2.f, .4f})), {3, 1, 2, 0});
  // TernaryBERT's begin at the least: 1, 2, 3 and 4 (w = 3 + 1e-8).
  const auto official = make_act("per_token", "bits = 2, symmetric = false, official_norm = true");
  expect_equal(official->forward(at::tensor({4.f, 1.f, 1.6f, 3.4f})), {4, 1, 2, 3}, 1e-6);
}

TEST(PerToken, ClippedActivationsPassNoGradient) {
  const auto act = make_act("per_token", "bits = 3, clip_val = 1.5");
  const Tensor x = at::tensor({6.f, -1.6f, .4f, -1.5f});
  expect_equal(act->forward(x), {1.5f, -1.5f, .5f, -1.5f});
  expect_equal(act->backward(x, at::ones({4})), {0, 0, 1, 0});
}

TEST(PerTensor, RoundsAllTokensByOne) {
  const auto act = make_act("per_tensor", "bits = 3");
  expect_equal(
      act->forward(at::tensor({6.f, -1.f, 2.5f, -5.f, -.75f, .5f, .1f, 3.5f}).view({2, 4})),
      {6, 0, 2, -4, 0, 0, 0, 4});
}

TEST(StaticEma, FollowsTheRangesOfTheStepsAndClampsByThem) {
  const auto act = make_act("static_ema", "bits = 3, decay = 0.75");
  const Tensor x = at::tensor({6.f, -1.f, 2.5f, -5.f});
  expect_equal(act->forward(x), {6, 0, 2, -4});  // its own range, before the first step
  EXPECT_FALSE(act->ready());
  train_on(*act, at::tensor({3.f, -1.f}));
  const Tensor range = act->buffers()[0].tensor;
  expect_equal(range, {-1, 3});
  expect_equal(act->forward(x), {3, -1, 2, -3});  // -1, 2.5 -> 2 (to even)
  expect_equal(act->backward(x, at::ones({4})), {0, 1, 1, 0});
  act->start_step();
  for (const float value : {2.f, 11.f, -5.f})  // micro-batches
    act->forward(at::tensor({value}));
  act->end_step(act->seen());
  expect_equal(range, {0.75f * -1 + 0.25f * -5, 0.75f * 3 + 0.25f * 11});
}

TEST(StaticEma, AnInfiniteActivationIsNotKeptInTheRange) {
  const auto act = make_act("static_ema", "bits = 3");
  train_on(*act, at::tensor({3.f, -1.f}));
  train_on(*act, at::tensor({std::numeric_limits<float>::infinity(), -1.f}));
  expect_equal(act->buffers()[0].tensor, {-1, 3});
}

TEST(PerTensor, TheOfficialNormOfActivationsBeyondTheClipIsTheClip) {
  const auto act =
      make_act("per_tensor", "bits = 8, symmetric = false, official_norm = true, clip_val = 2.5");
  expect_equal(act->forward(at::tensor({3.f, 5.f})), {2.5, 2.5});
}

TEST(StaticEma, TheOfficialFormEndsOneCodeEarlierAndPassesAllGradients) {
  const auto act =
      make_act("static_ema", "bits = 3, official_clamp = true, official_gradient = true");
  EXPECT_EQ(act->levels(), 6);
  EXPECT_FALSE(act->masks_gradient());
  train_on(*act, at::tensor({3.f, -3.f}));
  expect_equal(act->forward(at::tensor({9.f, 3.f, -3.f, -9.f})), {2, 2, -3, -3});
  expect_equal(act->backward(at::tensor({9.f}), at::ones({1})), {1});
}

TEST(ActQuantizers, RefuseFormsThatTheirLevelsDoNotHave) {
  EXPECT_THROW(make_act("per_token", "official_norm = true"), recipes::UserError);
  EXPECT_THROW(make_act("per_token", "symmetric = false, official_eps = true"), recipes::UserError);
}

// ---- in a linear layer

Linear linear_with(const std::shared_ptr<ActQuantizer>& act, at::ScalarType dtype = at::kFloat) {
  Linear l;
  l.name = "model.layers.0.mlp.up_proj";
  l.weight = heavy({6, 10}, 1).to(dtype);
  l.grad = at::zeros({6, 10});
  l.act = act;
  return l;
}

TEST(LinearWithAct, AgreesWithAnAutogradTwin) {
  for (const std::string fields : {"bits = 4", "bits = 4, clip_val = 0.8"}) {
    const auto act = make_act("per_token", fields);
    const Linear l = linear_with(act);
    const Tensor x = heavy({2, 5, 10}, 3).requires_grad_();
    const Tensor dy = heavy({2, 5, 6}, 4);
    const Tensor y = l.forward(x);
    y.backward(dy);
    // Straight-through, by ATen: the value of the rounded, the gradient of the clipped.
    const double clip = fields.find("clip") == std::string::npos ? 1e30 : 0.8;
    const Tensor x2 = x.detach().clone().requires_grad_();
    const Tensor w2 = l.weight.clone().requires_grad_();
    const Tensor clipped = x2.clamp(-clip, clip);
    const Tensor step = clipped.detach().abs().amax(-1, true) / 7;
    const Tensor q = clipped + (at::round(clipped / step) * step - clipped).detach();
    const Tensor y2 = at::linear(q, w2);
    y2.backward(dy);
    EXPECT_LT(error(y.detach(), y2.detach()), 1e-5) << fields;
    EXPECT_LT(error(x.grad(), x2.grad()), 1e-5) << fields;
    EXPECT_LT(error(l.grad, w2.grad()), 1e-5) << fields;
  }
}

TEST(LinearWithAct, KeepsNothingForAFrozenWeightUnlessGradientsAreMasked) {
  for (const bool masks : {false, true}) {
    Linear l = linear_with(make_act("per_token", masks ? "clip_val = 1" : ""));
    l.grad = Tensor();
    const Tensor x = heavy({4, 10}, 5).requires_grad_();
    const Tensor inner = x * 2.0;
    const Tensor y = l.forward(inner);
    EXPECT_EQ(inner.use_count() > 1, masks);
    y.sum().backward();
    EXPECT_TRUE(x.grad().defined());
  }
}

// ---- the plan

ActPlan act_plan(const std::string& text) {
  auto recipe = recipes::Recipe::parse("[act]\n" + text, "r.toml");
  return ActPlan::read(recipe.section("act"));
}

TEST(ActPlan, TheFirstRuleThatMatchesWinsOverTheDefaultOfItsKind) {
  const ActPlan plan = act_plan(
      "input = \"per_token\"\nvalue = { name = \"per_token\", bits = 4 }\n"
      "[[act.rule]]\nmatch = \"*.down_proj\"\nquantizer = \"none\"\n"
      "[[act.rule]]\nmatch = \"*.0.*\"\nquantizer = { name = \"per_tensor\", bits = 6 }\n");
  EXPECT_EQ(plan.scheme_of("model.layers.0.mlp.down_proj", ActKind::kInput), "none");
  EXPECT_EQ(plan.scheme_of("model.layers.0.mlp.up_proj", ActKind::kInput), "per_tensor 6");
  EXPECT_EQ(plan.scheme_of("model.layers.1.mlp.up_proj", ActKind::kInput), "per_token 8");
  EXPECT_EQ(plan.scheme_of("model.layers.0.value", ActKind::kValue), "per_tensor 6");
  EXPECT_EQ(plan.scheme_of("model.layers.1.value", ActKind::kValue), "per_token 4");
  EXPECT_EQ(plan.scheme_of("model.layers.1.key", ActKind::kKey), "none");
  EXPECT_EQ(plan.build("model.layers.1.key", ActKind::kKey), nullptr);
  EXPECT_EQ(plan.build("model.layers.1.value", ActKind::kValue)->bits(), 4);
  EXPECT_FALSE(plan.empty());
  EXPECT_TRUE(act_plan("").empty());
}

TEST(ActPlan, MistakesAreNamedWithTheirKey) {
  const ActPlan plan =
      act_plan("[[act.rule]]\nmatch = \"*.down_prj\"\nquantizer = \"per_token\"\n");
  try {
    plan.require_matches({"model.layers.0.mlp.down_proj", "model.layers.0.key"});
    FAIL();
  } catch (const recipes::RecipeError& error) {
    EXPECT_NE(std::string(error.what()).find("r.toml:3:"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("'model.layers.0.mlp.down_proj'"), std::string::npos);
  }
  try {
    act_plan("input = { name = \"per_token\", official_norm = true }\n");
    FAIL();
  } catch (const recipes::RecipeError& error) {
    EXPECT_NE(std::string(error.what()).find("'act.input'"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace sterna::quant
