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

TEST(Schedule, ConstantStaysAndASingleStepRunsAtThePeak) {
  EXPECT_DOUBLE_EQ((Schedule{"constant", 10, 0, 0.0}.factor(9)), 1.0);
  EXPECT_DOUBLE_EQ((Schedule{"cosine", 1, 0, 0.0}.factor(0)), 1.0);
}

}  // namespace
}  // namespace sterna::run
