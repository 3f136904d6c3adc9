// torchrun starts this program as it starts any other, and restarts it.
#include "recipes/paths.h"
#include "tests/run/ranks_fixture.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

/// The Python beside the LibTorch that this program was built with; empty where there is none.
fs::path python_of_torch() {
  for (const auto& entry : fs::directory_iterator(recipes::cache_dir()))
    if (entry.path().filename().string().starts_with("torch-") &&
        fs::exists(entry.path() / "bin/python"))
      return entry.path() / "bin/python";
  return {};
}

class Torchrun : public RankTraining {
 protected:
  void SetUp() override {
    if (!fs::exists(recipes::cache_dir()) || python_of_torch().empty())
      GTEST_SKIP() << "no Python with torch: scripts/setup installs it";
    RankTraining::SetUp();
  }

  std::vector<std::string> words(const std::string& name,
                                 const std::vector<std::string>& more,
                                 const std::string& restarts) const {
    std::vector<std::string> all{python_of_torch().string(),
                                 "-m",
                                 "torch.distributed.run",
                                 "--standalone",
                                 "--nproc-per-node=2",
                                 "--max-restarts=" + restarts,
                                 "--no-python",
                                 (binary_dir() / "sterna").string()};
    for (const std::string& word : arguments(name, more))
      all.push_back(word);
    return all;
  }
};

TEST_F(Torchrun, TrainsWhatTheBuiltInLauncherTrains) {
  const std::vector<std::string> more{"train.steps=5"};
  Process process(words("torchrun", more, "0"), folder_ / "torchrun.txt");
  EXPECT_EQ(process.wait(), 0) << process.output();
  EXPECT_EQ(count(process.output(), "step 5/5"), 1) << process.output();
  ASSERT_EQ(train_ranks(2, "built-in", more), 0) << output_;
  EXPECT_EQ(hashes("torchrun", "step-5"), hashes("built-in", "step-5"));
}

TEST_F(Torchrun, RestartsFromTheNewestCheckpoint) {
  std::vector<std::string> more{
      "train.steps=1000000", "train.schedule=constant", "train.checkpoint_every=2"};
  Process process(words("torchrun", more, "1"), folder_ / "torchrun.txt");
  ASSERT_TRUE(process.says("step 10/")) << process.output();
  auto found = living();
  ASSERT_TRUE(found.contains(1));
  kill(found.at(1), SIGKILL);
  ASSERT_TRUE(process.says("resuming ")) << process.output();
  const size_t before = losses_or_none("torchrun").size();
  ASSERT_TRUE(
      comes([&] { return losses_or_none("torchrun").size() > before + 4 || !process.lives(); }));
  found = living();
  ASSERT_TRUE(found.contains(1));
  kill(found.at(1), SIGTERM);
  EXPECT_NE(process.wait(), 0) << process.output();
  EXPECT_EQ(count(process.output(), ": saved step-"), 1) << process.output();
  const std::string last = newest("torchrun").filename();
  more[0] = "train.steps=" + last.substr(5);
  ASSERT_EQ(train_ranks(2, "built-in", more), 0) << output_;
  EXPECT_EQ(hashes("torchrun", last), hashes("built-in", last));
}

}  // namespace
}  // namespace sterna::tests
