// The published schedules of teacher intervention, step by step, and the draws of ours.

#include <gtest/gtest.h>

#include "distill/draw.h"
#include "distill/intervention.h"
#include "recipes/recipe.h"
#include "tests/support/reference_set.h"

namespace sterna::distill {
namespace {

Intervention intervention(const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse("[kd.intervention]\n" + text, "test");
  Intervention made(recipe.section("kd"));
  recipe.reject_unknown();
  return made;
}

TEST(Intervention, GradualAndInvertedAreThePublishedSchedules) {
  STERNA_REQUIRE_DATA("qat_cases/ti_schedule.safetensors");
  const tests::ReferenceSet set("qat_cases/ti_schedule.safetensors");
  for (const std::string mode : {"gradual", "inverted"}) {
    for (const int64_t steps : {60, 120, 7}) {
      const Intervention schedule =
          intervention("mode = '" + mode + "'\nsteps = " + std::to_string(steps));
      const at::Tensor want = set.at(mode + "_" + std::to_string(steps) + "/mode").to(at::kLong);
      ASSERT_EQ(want.size(0), steps);
      for (int64_t step = 0; step < steps; ++step)
        EXPECT_EQ(static_cast<int64_t>(schedule.at(step, 1)), want[step].item<int64_t>())
            << mode << " step " << step << " of " << steps;
      EXPECT_EQ(schedule.at(steps, 1), Swap::kNone);
    }
  }
}

TEST(Intervention, OutputStaysForItsStepsAndNoneIsTheDefault) {
  const Intervention schedule = intervention("steps = 3");
  EXPECT_EQ(schedule.at(0, 1), Swap::kOutput);
  EXPECT_EQ(schedule.at(2, 1), Swap::kOutput);
  EXPECT_EQ(schedule.at(3, 1), Swap::kNone);
  EXPECT_FALSE(intervention("").wanted());
  EXPECT_EQ(intervention("").at(0, 1), Swap::kNone);
}

TEST(Intervention, StochasticDrawsEachModeAboutAsOftenAndDependsOnTheSeed) {
  const Intervention schedule = intervention("mode = 'stochastic'\nsteps = 3000");
  int64_t count[4] = {};
  int64_t other = 0;
  for (int64_t step = 0; step < 3000; ++step) {
    ++count[static_cast<int64_t>(schedule.at(step, 1))];
    other += schedule.at(step, 1) != schedule.at(step, 2) ? 1 : 0;
  }
  EXPECT_EQ(count[0], 0);
  for (const int64_t each : {count[1], count[2], count[3]})
    EXPECT_NEAR(static_cast<double>(each), 1000, 90);  // 3.5 standard deviations
  EXPECT_NEAR(static_cast<double>(other), 2000, 90);
}

TEST(Intervention, TheChanceFallsAndBoundsAreCertain) {
  const Intervention falling = intervention("steps = 101\nchance = 1.0\nchance_final = 0.0");
  int64_t first = 0, middle = 0, last = 0;
  for (int64_t sample = 0; sample < 2000; ++sample) {
    first += falling.drawn(1, 0, sample, 3) ? 1 : 0;
    middle += falling.drawn(1, 50, sample, 3) ? 1 : 0;
    last += falling.drawn(1, 100, sample, 3) ? 1 : 0;
  }
  EXPECT_EQ(first, 2000);
  EXPECT_NEAR(static_cast<double>(middle), 1000, 80);
  EXPECT_EQ(last, 0);
}

TEST(Draw, IsAFunctionOfEveryArgumentAndUniform) {
  EXPECT_EQ(draw(1, 2, 3, 4), draw(1, 2, 3, 4));
  EXPECT_NE(draw(1, 2, 3, 4), draw(2, 1, 3, 4));
  EXPECT_NE(draw(1, 2, 3, 4), draw(1, 3, 2, 4));
  EXPECT_NE(draw(1, 2, 3, 4), draw(1, 2, 4, 3));
  double sum = 0, square = 0;
  for (int64_t i = 0; i < 10000; ++i) {
    const double x = draw(7, i / 100, i % 100, 1);
    ASSERT_TRUE(x >= 0 && x < 1);
    sum += x;
    square += x * x;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.012);
  EXPECT_NEAR(square / 10000, 1.0 / 3, 0.012);
}

}  // namespace
}  // namespace sterna::distill
