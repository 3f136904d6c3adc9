// As resume_e2e_test, at thirty instants.
#include <random>

#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

TEST_F(Training, KilledThirtyTimesGivesTheWeightsOfTheStraightRun) {
  const std::vector<std::string> more{"quant.weight={ name = \"affine_learned\", group = 16 }",
                                      "train.steps=160"};
  ASSERT_EQ(train("straight", more), 0) << output_;
  std::mt19937 random(7);
  std::vector<int> delays;
  for (int i = 0; i < 30; ++i)
    delays.push_back(static_cast<int>(100 + random() % 900));
  train_with_kills("killed", more, delays);
  EXPECT_EQ(hashes("killed", "step-160"), hashes("straight", "step-160"));
}

}  // namespace
}  // namespace sterna::tests
