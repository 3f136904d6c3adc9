// Range losses in a step: in the loss once, in the gradient once, whatever the step is cut into.
#include "trainer/run/ranges.h"

#include <thread>

#include <gtest/gtest.h>

#include "tests/run/meeting.h"
#include "tests/run/student_fixture.h"
#include "tests/run/worlds.h"
#include "trainer/run/step.h"

namespace sterna::run {
namespace {

recipes::Recipe kd(const std::string& text) {
  return recipes::Recipe::parse("[kd]\n" + text + "\n", "test");
}

RangeRules rules(const std::string& range) {
  auto recipe = kd("range = " + range);
  return RangeRules::read(recipe.section("kd"));
}

const std::string kMargins =
    "[{ match = \"*.down_proj\", weight = 0.5, loss = \"margin\" },"
    " { match = \"*.layers.1.*\", weight = 0.25, loss = \"l_inf\" }]";

class RangeTerms : public testing::Test {
 protected:
  std::unique_ptr<Student> student(const Freezing& freezing = {}) {
    return make_student(folder_.path(), /*tied=*/true, freezing, none);
  }
  const tests::TempFolder folder_;
};

TEST_F(RangeTerms, TheFirstRuleThatMatchesGivesAMatrixItsLoss) {
  const auto model = student();
  Ranges ranges(rules(kMargins), *model);
  std::vector<Trained> trained = gradients(model->all(), {0, 10});
  const size_t before = trained.size();
  double expected = 0;
  std::map<std::string, Tensor> pulls;
  for (const Trained& t : trained) {
    const bool down = t.name.find("down_proj") != std::string::npos;
    const bool other = t.name.find("layers.1.") != std::string::npos && t.value.dim() == 2;
    if (!down && !other)
      continue;
    const auto loss = quant::range_losses().make_default(down ? "margin" : "l_inf");
    loss->init(t.value);
    const quant::RangeLoss::Result r = loss->run(t.value);
    expected += (down ? 0.5 : 0.25) * r.loss;
    pulls[t.name] = r.w * (down ? 0.5 : 0.25);
  }
  EXPECT_EQ(pulls.size(), 8u) << "seven matrices of block 1, one of block 0";
  EXPECT_NEAR(ranges.add(trained), expected, 1e-9);
  for (size_t i = 0; i < before; ++i) {
    const auto found = pulls.find(trained[i].name);
    const Tensor wanted = found == pulls.end() ? at::zeros_like(trained[i].grad) : found->second;
    EXPECT_TRUE(at::equal(trained[i].grad, wanted)) << trained[i].name;
  }
  ASSERT_EQ(trained.size(), before + 2) << "the margin of either block";
  EXPECT_EQ(trained.back().name, "model.layers.1.mlp.down_proj.weight.range.margin");
}

TEST_F(RangeTerms, WhatIsFrozenHasNone) {
  const auto model = student({{"*.layers.0.*"}});
  Ranges ranges(rules(kMargins), *model);
  EXPECT_EQ(ranges.tensors().size(), 1u);
}

TEST_F(RangeTerms, AMatchThatFitsNothingIsRefused) {
  EXPECT_THROW(rules("[{ match = \"*.fc9\", loss = \"l_inf\" }]")
                   .require_matches({"model.layers.0.mlp.up_proj"}),
               recipes::RecipeError);
  EXPECT_THROW(rules("[{ loss = \"l_inf\" }]"), recipes::UserError);
}

/// The norm of all gradients of a step whose only loss is that of the ranges.
StepReport step_of(const std::filesystem::path& folder,
                   dist::World& world,
                   int64_t batch,
                   int64_t accumulate) {
  const auto model = student_of(folder, {}, none);
  Ranges ranges(rules("[{ match = \"*\", weight = 0.5, loss = \"soft_min_max\" }]"), *model);
  auto recipe = kd("loss = [{ name = \"gt\", weight = 0.0 }]");
  const distill::Objective objective(recipe.section("kd"));
  const Repeated samples;
  TrainConfig config;
  config.steps = 10;
  config.batch = batch;
  config.accumulate = accumulate;
  Optimizer optimizer(config.adam(), config.clip);
  Step step({*model, nullptr, objective, samples, optimizer, world, nullptr, &ranges}, config);
  return step.run(0);
}

TEST_F(RangeTerms, CountOnceAStepHoweverItIsCut) {
  tests::write_tiny_model(folder_.path(), small_shape(/*tied=*/true));
  std::vector<std::string> events;
  RecordingWorld alone(events);
  const StepReport whole = step_of(folder_.path(), alone, 6, 1);
  ASSERT_EQ(whole.losses.size(), 2u);
  EXPECT_GT(whole.losses.back(), 0);
  EXPECT_DOUBLE_EQ(whole.loss, whole.losses.back()) << "the other term weighs nothing";
  EXPECT_GT(whole.outcome.grad_norm, 0);
  const StepReport cut = step_of(folder_.path(), alone, 2, 3);
  EXPECT_EQ(cut.outcome.grad_norm, whole.outcome.grad_norm);
  Meeting meeting(2);
  std::vector<StepReport> reports(2);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      MeetingWorld world(meeting, rank);
      reports[rank] = step_of(folder_.path(), world, 6, 1);
    });
  for (std::thread& thread : threads)
    thread.join();
  for (const StepReport& report : reports) {
    EXPECT_EQ(report.outcome.grad_norm, whole.outcome.grad_norm);
    EXPECT_EQ(report.losses.back(), whole.losses.back());
  }
}

}  // namespace
}  // namespace sterna::run
