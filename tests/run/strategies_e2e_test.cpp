// Sharded runs over processes and sockets; ranks that are threads are in sharing_test.cpp.
#include "tests/run/ranks_fixture.h"

namespace sterna::tests {
namespace {

class Strategies : public RankTraining {
 protected:
  /// Learned scales, an average and clipping: all that is cut.
  static std::vector<std::string> until(int64_t step, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all{"quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                                 "kd.loss=tsld",
                                 "train.freeze=[]",
                                 "train.schedule=constant",
                                 "train.ema=0.9",
                                 "train.checkpoint_every=3",
                                 "train.log_every=1",
                                 "train.steps=" + std::to_string(step)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  static std::vector<std::string> under(const std::string& strategy) {
    const bool all = strategy == "zero3";
    return {"dist.strategy=" + strategy,
            std::string("dist.teacher=") + (all ? "sharded" : "replicated")};
  }

  void expect_losses(const std::string& name, const std::vector<double>& wanted) const {
    const std::vector<double> found = losses(name);
    ASSERT_EQ(found.size(), wanted.size()) << name;
    for (size_t i = 0; i < wanted.size(); ++i)
      EXPECT_NEAR(found[i], wanted[i], 1e-3 * wanted[i]) << name << ", step " << i + 1;
  }
};

TEST_F(Strategies, TrainOverProcessesWhatOneRankDoesAndTheSameBitsEveryTime) {
  ASSERT_EQ(train("one", until(6)), 0) << output_;
  const std::vector<double> one = losses("one");
  ASSERT_EQ(one.size(), 6u);
  for (const std::string strategy : {"zero1", "zero2", "zero3"}) {
    for (const std::string& name : {strategy, strategy + "-again"})
      ASSERT_EQ(train_ranks(2, name, until(6, under(strategy))), 0) << output_;
    expect_losses(strategy, one);
    EXPECT_EQ(hashes(strategy, "step-6"), hashes(strategy + "-again", "step-6")) << strategy;
  }
}

TEST_F(Strategies, SaveTheStepOfAllOnASignalToOneRank) {
  for (const std::string strategy : {"zero1", "zero3"}) {
    std::vector<std::string> more = under(strategy);
    more.push_back("train.accumulate=8");  // micro-batches between which a rank could leave
    Program program(of_ranks(2, strategy, until(4000, more)), folder_.path() / (strategy + ".txt"));
    ASSERT_TRUE(program.says("step 3/")) << program.output();
    const auto ranks = processes(3);
    ASSERT_TRUE(ranks.contains(1)) << program.output();
    kill(ranks.at(1), SIGTERM);
    EXPECT_EQ(program.wait(), 3) << program.output();
    EXPECT_NE(program.output().find("saved step-"), std::string::npos) << program.output();
    std::vector<std::string> torn;
    EXPECT_FALSE(model::newest_checkpoint(run_folder(strategy), torn).empty());
    EXPECT_TRUE(torn.empty());
  }
}

TEST_F(Strategies, GoOnFromOneAnothersCheckpointsOnOtherRanks) {
  ASSERT_EQ(train("one", until(12)), 0) << output_;
  const auto go_on = [&](int64_t step, const std::string& strategy) {
    std::vector<std::string> more = under(strategy);
    if (step > 3)
      more.push_back("--resume");
    return until(step, more);
  };
  ASSERT_EQ(train_ranks(2, "moved", go_on(3, "zero3")), 0) << output_;
  ASSERT_EQ(train_ranks(4, "moved", go_on(6, "zero2")), 0) << output_;
  ASSERT_EQ(train("moved", go_on(9, "ddp")), 0) << output_;
  ASSERT_EQ(train_ranks(2, "moved", go_on(12, "zero1")), 0) << output_;
  expect_losses("moved", losses("one"));
  std::vector<std::string> torn;
  EXPECT_FALSE(model::newest_checkpoint(run_folder("moved"), torn).empty());
  EXPECT_TRUE(torn.empty());
}

}  // namespace
}  // namespace sterna::tests
