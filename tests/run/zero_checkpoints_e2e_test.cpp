// Checkpoints of sharded strategies, by the built-in launcher: whatever wrote them, whatever goes
// on.
#include "tests/run/ranks_fixture.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

class StrategyCheckpoints : public RankTraining {
 protected:
  std::vector<std::string> saving(const std::string& strategy,
                                  int64_t steps,
                                  const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all{"quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                                 "quant.rule=[{ match = \"*.down_proj\", weight = \"absmean\" }]",
                                 "train.schedule=constant",
                                 "train.ema=0.9",
                                 "train.log_every=1",
                                 "train.keep_last=99",
                                 "train.checkpoint_every=2",
                                 "dist.strategy=" + strategy,
                                 "train.steps=" + std::to_string(steps)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  fs::path checkpoint(const std::string& run, const std::string& name) const {
    return run_folder(run) / "checkpoints" / name;
  }
};

TEST_F(StrategyCheckpoints, AreGoneOnFromByAnotherNumberOfRanksBitForBit) {
  for (const char* strategy : {"zero1", "zero2", "zero3"}) {
    const std::string run = strategy;
    ASSERT_EQ(train_ranks(4, run, saving(strategy, 4)), 0) << output_;
    EXPECT_TRUE(fs::exists(checkpoint(run, "step-4") / "moment1-00003-of-00004.safetensors"));
    for (const char* file : {"master", "moment1", "ema"})
      EXPECT_FALSE(fs::exists(checkpoint(run, "step-4") / (std::string(file) + ".safetensors")));
    const std::string before = hashes(run, "step-4");
    ASSERT_EQ(train_ranks(2, run, saving(strategy, 6, {"--resume"})), 0) << output_;
    ASSERT_EQ(train(run, saving(strategy, 8, {"--resume"})), 0) << output_;
    EXPECT_EQ(hashes(run, "step-4"), before);
    ASSERT_EQ(train("one-" + run, saving(strategy, 8)), 0) << output_;
    const std::vector<double> straight = losses("one-" + run);
    const std::vector<double> found = losses(run);
    ASSERT_EQ(straight.size(), 8u);
    ASSERT_EQ(found.size(), 8u);
    for (size_t i = 0; i < straight.size(); ++i)
      EXPECT_NEAR(found[i], straight[i], 1e-3 * straight[i]) << strategy << " step " << i + 1;
  }
}

TEST_F(StrategyCheckpoints, OfTheSameRanksAreThoseOfARunThatWasNotStopped) {
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"}) {
    const std::string run = strategy;
    ASSERT_EQ(train_ranks(2, run, saving(strategy, 6)), 0) << output_;
    ASSERT_EQ(train_ranks(2, run + "-stopped", saving(strategy, 3)), 0) << output_;
    ASSERT_EQ(train_ranks(2, run + "-stopped", saving(strategy, 6, {"--resume"})), 0) << output_;
    EXPECT_EQ(hashes(run + "-stopped", "step-6"), hashes(run, "step-6")) << strategy;
    ASSERT_EQ(train_ranks(2, run + "-waits", saving(strategy, 6, {"train.checkpoint_async=false"})),
              0)
        << output_;
    for (const char* step : {"step-2", "step-4", "step-6"})
      EXPECT_EQ(hashes(run + "-waits", step), hashes(run, step)) << strategy << " " << step;
  }
}

}  // namespace
}  // namespace sterna::tests
