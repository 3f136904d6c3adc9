// Losses on ranges: worked by hand, and every registered one against finite differences.

#include "quant/range_loss.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

std::unique_ptr<RangeLoss> loss_of(const std::string& name, const std::string& fields = "") {
  auto recipe = recipes::Recipe::parse(
      "[kd]\nloss = { name = \"" + name + "\"" + (fields.empty() ? "" : ", " + fields) + " }\n",
      "test");
  return range_losses().build(recipe.section("kd"), "loss");
}

Tensor four() {
  return at::tensor({0.9f, -0.1f, 0.3f, -0.7f}).view({2, 2});
}

TEST(RangeLoss, LInfIsTheLargestWeightAndPullsAtItAlone) {
  const RangeLoss::Result r = loss_of("l_inf")->run(four());
  EXPECT_FLOAT_EQ(r.loss, 0.9f);
  EXPECT_TRUE(at::equal(r.w, at::tensor({1.0f, 0.0f, 0.0f, 0.0f}).view({2, 2})));
  const RangeLoss::Result two =
      loss_of("l_inf")->run(at::tensor({-0.5f, 0.5f, 0.1f}).view({1, -1}));
  EXPECT_TRUE(at::equal(two.w, at::tensor({-0.5f, 0.5f, 0.0f}).view({1, -1}))) << "both share it";
}

// M = 0.45; 0.45 and 0.25 lie beyond: 0.45 + 0.70, or 0.45 + 0.70 / 4.
TEST(RangeLoss, MarginByHand) {
  for (const bool mean : {false, true}) {
    const auto margin = loss_of("margin", mean ? "start = 0.5, reduce = \"mean\"" : "start = 0.5");
    margin->init(four());
    const RangeLoss::Result r = margin->run(four());
    EXPECT_NEAR(r.loss, mean ? 0.625 : 1.15, 1e-6);
    const float share = mean ? 0.25f : 1.0f;
    EXPECT_TRUE(at::equal(r.w, at::tensor({share, 0.0f, 0.0f, -share}).view({2, 2})));
    EXPECT_FLOAT_EQ(r.params.at(0).item<float>(), mean ? 0.5f : -1.0f);
  }
}

TEST(RangeLoss, SoftMinMaxIsTheRangeWhereItIsSharp) {
  const auto soft = loss_of("soft_min_max", "sharpness = 1000.0");
  soft->init(four());
  EXPECT_NEAR(soft->run(four()).loss, 1.6, 1e-6);
  const auto blunt = loss_of("soft_min_max", "sharpness = 0.9");
  blunt->init(four());
  // a = 1: e^w = 2.4596, 0.9048, 1.3499, 0.4966 and their inverses.
  const double sum = 2.4596 + 0.9048 + 1.3499 + 0.4966;
  const double top = (0.9 * 2.4596 - 0.1 * 0.9048 + 0.3 * 1.3499 - 0.7 * 0.4966) / sum;
  const double low = 1 / 2.4596 + 1 / 0.9048 + 1 / 1.3499 + 1 / 0.4966;
  const double bottom = (0.9 / 2.4596 - 0.1 / 0.9048 + 0.3 / 1.3499 - 0.7 / 0.4966) / low;
  EXPECT_NEAR(blunt->run(four()).loss, top - bottom + std::exp(-1.0), 1e-4);
}

TEST(RangeLoss, EveryGradientIsThatOfADifference) {
  const Tensor w = normal({4, 8}, 3);
  for (const std::string& name : range_losses().names()) {
    const auto loss = loss_of(name);
    loss->init(w * 0.7);  // so that a margin leaves several weights beyond
    const RangeLoss::Result r = loss->run(w);
    const double h = 1e-3;
    for (int64_t i = 0; i < w.numel(); ++i) {
      Tensor up = w.clone();
      Tensor down = w.clone();
      up.view(-1)[i] += h;
      down.view(-1)[i] -= h;
      const double slope = (loss->run(up).loss - loss->run(down).loss) / (2 * h);
      EXPECT_NEAR(r.w.view(-1)[i].item<double>(), slope, 1e-3) << name << " weight " << i;
    }
    const auto parameters = loss->parameters();
    ASSERT_EQ(r.params.size(), parameters.size()) << name;
    for (size_t i = 0; i < parameters.size(); ++i) {
      Tensor value = parameters[i].tensor;
      value.add_(h);
      const double up = loss->run(w).loss;
      value.sub_(2 * h);
      const double down = loss->run(w).loss;
      value.add_(h);
      EXPECT_NEAR(r.params[i].item<double>(), (up - down) / (2 * h), 2e-3)
          << name << " " << parameters[i].name;
    }
  }
}

TEST(RangeLoss, EveryOneIsFiniteOnZeros) {
  for (const std::string& name : range_losses().names()) {
    const auto loss = loss_of(name);
    const Tensor w = at::zeros({4, 8});
    loss->init(w);
    const RangeLoss::Result r = loss->run(w);
    EXPECT_TRUE(std::isfinite(r.loss)) << name;
    EXPECT_TRUE(r.w.isfinite().all().item<bool>()) << name;
    for (const Tensor& each : r.params)
      EXPECT_TRUE(each.isfinite().all().item<bool>()) << name;
  }
}

TEST(RangeLoss, DescentOnEveryOneShrinksTheRange) {
  for (const std::string& name : range_losses().names()) {
    const auto loss = loss_of(name);
    Tensor w = heavy({4, 32}, 5);
    const double before = (w.max() - w.min()).item<double>();
    loss->init(w);
    for (int step = 0; step < 200; ++step)
      w = w - loss->run(w).w * (2e-3 * before);
    EXPECT_LT((w.max() - w.min()).item<double>(), 0.95 * before) << name;
  }
}

}  // namespace
}  // namespace sterna::quant
