#include "trainer/run/schedule.h"

#include <gtest/gtest.h>

namespace sterna::run {
namespace {

TEST(Schedule, WarmsUpLinearlyFromTheFirstStepAndReachesThePeak) {
  const Schedule s{"cosine", 100, 4, 0.1};
  EXPECT_DOUBLE_EQ(s.factor(0), 0.25);
  EXPECT_DOUBLE_EQ(s.factor(3), 1.0);
  EXPECT_DOUBLE_EQ(s.factor(4), 1.0);
}

TEST(Schedule, CosineAndLinearEndAtTheFinalFraction) {
  EXPECT_DOUBLE_EQ((Schedule{"cosine", 101, 0, 0.1}.factor(50)), 0.55);
  EXPECT_DOUBLE_EQ((Schedule{"cosine", 101, 0, 0.1}.factor(100)), 0.1);
  EXPECT_DOUBLE_EQ((Schedule{"linear", 101, 0, 0.2}.factor(25)), 0.8);
  EXPECT_DOUBLE_EQ((Schedule{"linear", 101, 0, 0.2}.factor(100)), 0.2);
  EXPECT_DOUBLE_EQ((Schedule{"linear", 101, 0, 0.2}.factor(500)), 0.2);
}

TEST(Schedule, WsdStaysAtThePeakAndFallsInTheLastFraction) {
  const Schedule s{"wsd", 100, 10, 0.2, 0.25};
  EXPECT_DOUBLE_EQ(s.factor(4), 0.5);
  for (const int64_t attempt : {9, 10, 50, 74})
    EXPECT_DOUBLE_EQ(s.factor(attempt), 1.0) << attempt;
  EXPECT_DOUBLE_EQ(s.factor(75), 1 - 0.8 / 25);  // the first of 25 steps down
  EXPECT_DOUBLE_EQ(s.factor(79), 1 - 0.8 / 5);
  EXPECT_DOUBLE_EQ(s.factor(99), 0.2);
  EXPECT_DOUBLE_EQ(s.factor(150), 0.2);
  EXPECT_DOUBLE_EQ(s.decay_factor(99), 1.0);
}

TEST(Schedule, WsdMayFallFromTheWarmUpOnOrNotAtAll) {
  EXPECT_DOUBLE_EQ((Schedule{"wsd", 100, 20, 0, 1.0}.factor(20)), 1 - 1.0 / 80);
  EXPECT_DOUBLE_EQ((Schedule{"wsd", 100, 0, 0, 0.0}.factor(98)), 1.0);
}

TEST(Schedule, TwoStageDropsTheRateAndTheDecayInTheMiddle) {
  // BitNet b1.58 at 700M: 1.5e-3 to 1e-3, weight decay 0.1 to 0, linear.
  const Schedule s{"two_stage", 101, 0, 0, 0.1, 2.0 / 3};
  EXPECT_DOUBLE_EQ(s.factor(0), 1.0);
  EXPECT_DOUBLE_EQ(s.factor(25), 0.75);
  EXPECT_DOUBLE_EQ(s.factor(50), 0.5);
  EXPECT_DOUBLE_EQ(s.factor(51), 2.0 / 3 * 0.49);
  EXPECT_DOUBLE_EQ(s.factor(100), 0.0);
  EXPECT_DOUBLE_EQ(s.decay_factor(50), 1.0);
  EXPECT_DOUBLE_EQ(s.decay_factor(51), 0.0);
  EXPECT_DOUBLE_EQ((Schedule{"linear", 101}.decay_factor(51)), 1.0);
}

TEST(Schedule, BertRisesFromZeroAndIsZeroAtTheEnd) {
  const Schedule s{"bert", 60, 6};
  EXPECT_DOUBLE_EQ(s.factor(0), 0.0);
  EXPECT_NEAR(s.factor(3), 0.5, 1e-15);
  EXPECT_NEAR(s.factor(6), 1.0, 1e-15);
  EXPECT_NEAR(s.factor(33), 0.5, 1e-15);
  EXPECT_DOUBLE_EQ(s.factor(60), 0.0);
  EXPECT_DOUBLE_EQ(s.factor(70), 0.0);
  EXPECT_DOUBLE_EQ((Schedule{"bert", 10, 0}.factor(0)), 1.0);
}

TEST(Schedule, ConstantStaysAndASingleStepRunsAtThePeak) {
  EXPECT_DOUBLE_EQ((Schedule{"constant", 10, 0, 0.0}.factor(9)), 1.0);
  EXPECT_DOUBLE_EQ((Schedule{"cosine", 1, 0, 0.0}.factor(0)), 1.0);
}

}  // namespace
}  // namespace sterna::run
