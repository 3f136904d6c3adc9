// Checkpoints that a thread writes while training goes on.
#include "tests/run/train_fixture.h"
#include "tests/support/small_disk.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

/// Everything that a checkpoint can hold, and a new grid amid the run.
const std::vector<std::string> kOften{
    "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
    "quant.stage=[{ until = 6, weight = { name = \"affine_learned\", bits = 4, group = 16 } }]",
    "blockwise.samples=4",
    "blockwise.batch=2",
    "blockwise.checkpoint_every=1",
    "train.steps=12",
    "train.checkpoint_every=1",
    "train.keep_last=20",
    "train.ema=0.9"};

class WrittenBehind : public Training {
 protected:
  int train_with(const std::string& name, std::vector<std::string> more) {
    more.insert(more.begin(), kOften.begin(), kOften.end());
    return train(name, more);
  }

  std::vector<std::string> sorted_checkpoints(const std::string& name) const {
    std::vector<std::string> all = checkpoints(name);
    std::sort(all.begin(), all.end());
    return all;
  }
};

TEST_F(WrittenBehind, CheckpointsAreThoseThatTrainingWaitsForBitForBit) {
  ASSERT_EQ(train_with("waits", {"train.checkpoint_async=false"}), 0) << output_;
  ASSERT_EQ(train_with("behind", {"train.checkpoint_async=true"}), 0) << output_;
  const std::vector<std::string> all = sorted_checkpoints("waits");
  ASSERT_EQ(all.size(), 14u) << "12 steps, a block, and the end of that stage";
  EXPECT_EQ(sorted_checkpoints("behind"), all);
  for (const std::string& name : all)
    EXPECT_EQ(hashes("behind", name), hashes("waits", name)) << name;
}

TEST_F(WrittenBehind, MayBeSwitchedOnAndOffInAResumedRun) {
  ASSERT_EQ(train_with("waits", {"train.checkpoint_async=false"}), 0) << output_;
  fs::remove_all(run_folder("waits") / "checkpoints/step-12");
  const std::string wanted = hashes("waits", "step-11");
  ASSERT_EQ(train_with("waits", {"train.checkpoint_async=true", "--resume"}), 0) << output_;
  EXPECT_EQ(hashes("waits", "step-11"), wanted);
  EXPECT_TRUE(fs::exists(run_folder("waits") / "checkpoints/step-12/manifest.json"));
}

TEST_F(WrittenBehind, AFullDiskIsSaidAtTheNextStepAsItIsWhereTrainingWaits) {
  std::string messages[2];
  for (const bool behind : {false, true}) {
    const SmallDisk disk(500);
    STERNA_REQUIRE_DISK(disk);
    EXPECT_EQ(train("r",
                    {"run.dir=" + disk.path().string(),
                     "train.steps=100000",
                     "train.keep_last=100000",
                     "train.checkpoint_every=1",
                     std::string("train.checkpoint_async=") + (behind ? "true" : "false")}),
              2);
    const size_t at = output_.find("error: ");
    ASSERT_NE(at, std::string::npos) << output_;
    messages[behind] = output_.substr(at);
    EXPECT_NE(messages[behind].find("No space left on device"), std::string::npos) << output_;
    std::vector<std::string> torn;
    EXPECT_FALSE(model::newest_checkpoint(disk.path() / "r", torn).empty());
    EXPECT_TRUE(torn.empty());
    for (const auto& entry : fs::directory_iterator(disk.path() / "r/checkpoints"))
      EXPECT_TRUE(entry.path().filename().string().starts_with("step-")) << entry.path();
  }
}

}  // namespace
}  // namespace sterna::tests
