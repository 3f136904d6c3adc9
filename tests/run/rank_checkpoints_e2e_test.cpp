// Checkpoints of runs on several ranks, by the built-in launcher.
#include "tests/run/ranks_fixture.h"
#include "tests/support/small_disk.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

class RankCheckpoints : public RankTraining {
 protected:
  /// Learned scales, moments and an average; all checkpoints stay.
  std::vector<std::string> saving(const std::vector<std::string>& more) const {
    std::vector<std::string> all{"quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                                 "train.schedule=constant",
                                 "train.ema=0.9",
                                 "train.log_every=1",
                                 "train.keep_last=99"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  fs::path checkpoint(const std::string& run, const std::string& name) const {
    return run_folder(run) / "checkpoints" / name;
  }

  void expect_says(const std::string& text) const {
    EXPECT_NE(output_.find(text), std::string::npos) << "'" << text << "' not in:\n" << output_;
  }

  void expect_sound(const fs::path& run) {
    std::vector<std::string> torn;
    EXPECT_FALSE(model::newest_checkpoint(run, torn).empty());
    EXPECT_EQ(torn, std::vector<std::string>());
    for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
      EXPECT_TRUE(entry.path().filename().string().starts_with("step-")) << entry.path();
  }
};

TEST_F(RankCheckpoints, OfFourRanksAreGoneOnFromByTwoAndByOneWithTheSameSamples) {
  const auto steps = [&](int64_t count, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all =
        saving({"train.checkpoint_every=2", "train.steps=" + std::to_string(count)});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  ASSERT_EQ(train("straight", steps(9)), 0) << output_;
  ASSERT_EQ(train_ranks(4, "r", steps(4)), 0) << output_;
  for (const char* file :
       {"master-00001-of-00004.safetensors", "moment2-00004-of-00004.safetensors"})
    EXPECT_TRUE(fs::exists(checkpoint("r", "step-4") / file)) << file;
  const std::string before = hashes("r", "step-4");
  ASSERT_EQ(train_ranks(2, "r", steps(7, {"--resume"})), 0) << output_;
  expect_says("from step-4");
  EXPECT_TRUE(fs::exists(checkpoint("r", "step-7") / "master-00002-of-00002.safetensors"));
  EXPECT_EQ(hashes("r", "step-4"), before);
  ASSERT_EQ(train("r", steps(9, {"--resume"})), 0) << output_;
  expect_says("from step-7");
  EXPECT_TRUE(fs::exists(checkpoint("r", "step-9") / "master.safetensors"));
  const std::vector<double> straight = losses("straight");
  const std::vector<double> found = losses("r");
  ASSERT_EQ(straight.size(), 9u);
  ASSERT_EQ(found.size(), 9u);
  // Other samples would differ in the first digits.
  for (size_t i = 0; i < straight.size(); ++i)
    EXPECT_NEAR(found[i], straight[i], 1e-4 * straight[i]) << "step " << i + 1;
}

TEST_F(RankCheckpoints, WrittenBehindAreThoseThatTrainingWaitsFor) {
  for (const char* async : {"false", "true"})
    ASSERT_EQ(train_ranks(2,
                          async,
                          saving({"train.steps=8",
                                  "train.checkpoint_every=1",
                                  std::string("train.checkpoint_async=") + async})),
              0)
        << output_;
  for (int step = 1; step <= 8; ++step) {
    const std::string name = "step-" + std::to_string(step);
    EXPECT_EQ(hashes("true", name), hashes("false", name)) << name;
  }
  expect_sound(run_folder("true"));
}

TEST_F(RankCheckpoints, ThatAreTornAreNamedOnceAndAllRanksGoBackToTheSameOne) {
  const std::vector<std::string> more = saving({"train.steps=6", "train.checkpoint_every=2"});
  ASSERT_EQ(train_ranks(2, "r", more), 0) << output_;
  const std::string wanted = hashes("r", "step-6");
  const std::string shard = "moment1-00002-of-00002.safetensors";
  fs::resize_file(checkpoint("r", "step-6") / shard, 1000);
  fs::remove(checkpoint("r", "step-4") / shard);
  std::vector<std::string> again = more;
  again.push_back("--resume");
  ASSERT_EQ(train_ranks(2, "r", again), 0) << output_;
  EXPECT_EQ(count(output_, "WARNING"), 2) << output_;
  expect_says((checkpoint("r", "step-6") / shard).string() + ": damaged");
  expect_says((checkpoint("r", "step-4") / shard).string() + ": missing");
  expect_says("rank 1 of 2 wrote it: rows ");
  expect_says("from step-2");
  EXPECT_EQ(hashes("r", "step-6"), wanted);
}

TEST_F(RankCheckpoints, OnAFullDiskEndAllRanksAlikeAndLeaveTheOneBefore) {
  const SmallDisk disk(900);
  STERNA_REQUIRE_DISK(disk);
  EXPECT_EQ(train_ranks(2,
                        "r",
                        saving({"run.dir=" + disk.path().string(),
                                "train.steps=100000",
                                "train.checkpoint_every=1"})),
            2)
      << output_;
  expect_says("No space left on device");
  expect_sound(disk.path() / "r");
  EXPECT_TRUE(living().empty());
}

TEST_F(RankCheckpoints, AreWholeWheneverARankIsKilled) {
  std::vector<std::string> more = saving({"train.checkpoint_every=1", "train.steps=1000000"});
  for (const char* at : {"step 3/", "step 9/", "step 17/"}) {
    std::vector<std::string> all = more;
    if (fs::exists(run_folder("killed") / "recipe.toml"))
      all.push_back("--resume");
    // A file of its own: an earlier program's output would be taken for this one's.
    Program program(of_ranks(2, "killed", all), folder_ / ("until " + std::string(at, 6)));
    ASSERT_TRUE(program.says(at)) << program.output();
    kill(processes(3).at(1), SIGKILL);
    EXPECT_EQ(program.wait(), 70) << program.output();
    std::vector<std::string> torn;
    EXPECT_FALSE(model::newest_checkpoint(run_folder("killed"), torn).empty()) << at << "\n"
                                                                               << program.output();
    EXPECT_EQ(torn, std::vector<std::string>());
  }
  // Five steps more than it came to; the other run does as many in one go.
  const std::string last = newest("killed").filename();
  const std::string end = std::to_string(std::stoll(last.substr(5)) + 5);
  more.back() = "train.steps=" + end;
  ASSERT_EQ(train_ranks(2, "straight", more), 0) << output_;
  more.push_back("--resume");
  ASSERT_EQ(train_ranks(2, "killed", more), 0) << output_;
  EXPECT_EQ(hashes("killed", "step-" + end), hashes("straight", "step-" + end));
}

}  // namespace
}  // namespace sterna::tests
