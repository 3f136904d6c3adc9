// `memory.offload` from the command line.
#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

using OffloadedTraining = Training;

TEST_F(OffloadedTraining, EndsInTheSameBitsAndMayBeSwitchedOnTheWay) {
  const std::vector<std::string> again{"train.recompute=true", "train.accumulate=2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), again.begin(), again.end());
    return more;
  };
  ASSERT_EQ(train("here", with({"train.steps=4"})), 0) << output_;
  EXPECT_EQ(output_.find("offloaded"), std::string::npos) << output_;
  ASSERT_EQ(train("host", with({"train.steps=4", "memory.offload=activations"})), 0) << output_;
  EXPECT_NE(output_.find(", offloaded "), std::string::npos) << output_;
  EXPECT_EQ(hashes("host", "step-4"), hashes("here", "step-4"));
  ASSERT_EQ(train("here", with({"train.steps=6", "--resume"})), 0) << output_;
  ASSERT_EQ(train("host", with({"train.steps=6", "memory.offload=", "--resume"})), 0) << output_;
  EXPECT_EQ(hashes("host", "step-6"), hashes("here", "step-6"));
}

TEST_F(OffloadedTraining, IsRefusedWhereBlocksAreNotRunAgain) {
  EXPECT_EQ(train("none", {"memory.offload=activations"}), 2);
  for (const char* said :
       {"memory.offload", "found train.recompute=false", "set train.recompute=true"})
    EXPECT_NE(output_.find(said), std::string::npos) << said << "\n" << output_;
  EXPECT_EQ(train("else", {"memory.offload=everything"}), 2);
  EXPECT_NE(output_.find("activations"), std::string::npos) << output_;
}

}  // namespace
}  // namespace sterna::tests
