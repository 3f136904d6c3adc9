// `sterna train` under every strategy; here one rank, which must come to the same bits whatever is
// packed, sent to itself and freed on the way.
#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

using Keys = std::vector<std::string>;

class Sharding : public Training {
 protected:
  void expect_same_bits(const Keys& more) {
    Keys all = more;
    for (const char* key : {"train.steps=6", "train.checkpoint_every=3", "train.keep_best=false"})
      all.emplace_back(key);
    ASSERT_EQ(train("ddp", all), 0) << output_;
    const std::string wanted = hashes("ddp", "step-6");
    for (const char* strategy : {"zero1", "zero2", "zero3"}) {
      Keys sharded = all;
      sharded.push_back(std::string("dist.strategy=") + strategy);
      sharded.emplace_back("dist.teacher=sharded");
      ASSERT_EQ(train(strategy, sharded), 0) << output_;
      EXPECT_EQ(hashes(strategy, "step-6"), wanted) << strategy;
      std::filesystem::remove_all(run_folder(strategy) / "checkpoints/step-6");
      sharded.emplace_back("--resume");
      ASSERT_EQ(train(strategy, sharded), 0) << output_;
      EXPECT_EQ(hashes(strategy, "step-6"), wanted) << strategy << ", resumed";
    }
  }
};

TEST_F(Sharding, OfTernaryWeightsWithAnAverageAndAccumulation) {
  expect_same_bits({"train.ema=0.9", "train.accumulate=2", "train.recompute=true"});
}

TEST_F(Sharding, OfBitsThatChangeOnTheWay) {
  expect_same_bits({"quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                    "quant.stage=[{ until = 4, weight = { name = \"lsq\", bits = 4 } }]",
                    "train.optimizer=bertadam"});
}

TEST_F(Sharding, OfScalesAloneBehindTheBlockwiseStage) {
  expect_same_bits({"quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                    "train.only=scales",
                    "blockwise.samples=4"});
}

TEST_F(Sharding, CheckSaysWhichRanksCanShareAStep) {
  Keys all = arguments("none", {"train.batch=4", "train.accumulate=3"});
  all[0] = "check";
  Program program(all, folder_.path() / "output.txt");
  ASSERT_EQ(program.wait(), 0) << program.output();
  EXPECT_NE(program.output().find("12 samples a step (the global batch): on one rank 3 "
                                  "micro-batches of 4; 1, 3, 4, 6 or 12 ranks can share them"),
            std::string::npos)
      << program.output();
}

}  // namespace
}  // namespace sterna::tests
