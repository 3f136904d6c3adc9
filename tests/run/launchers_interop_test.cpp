// Open MPI's mpirun and Slurm's srun start this program as they start any other. Under Slurm it
// needs a controller that this machine may ask for two tasks.
#include "tests/run/ranks_fixture.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

struct Launcher {
  std::string name;
  std::vector<std::string> words;  ///< that start two tasks of what follows
};

const Launcher kMpirun{"mpirun", {"mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"}};
const Launcher kSrun{"srun", {"srun", "--overcommit", "--immediate=10", "-n", "2"}};

class Launchers : public RankTraining, public testing::WithParamInterface<Launcher> {
 protected:
  void SetUp() override {
    Process trial(started_by({"true"}), folder_ / "trial.txt");
    if (trial.wait() != 0)
      GTEST_SKIP() << GetParam().name << " cannot start two tasks here: " << trial.output();
    RankTraining::SetUp();
  }

  static std::vector<std::string> started_by(const std::vector<std::string>& words) {
    std::vector<std::string> all = GetParam().words;
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }

  std::vector<std::string> words(const std::string& name,
                                 const std::vector<std::string>& more) const {
    std::vector<std::string> all{(binary_dir() / "sterna").string()};
    for (const std::string& word : arguments(name, more))
      all.push_back(word);
    return started_by(all);
  }

  /// A rank's process: the launcher's own has other words before those.
  pid_t a_rank() const {
    const std::string program = (binary_dir() / "sterna").string() + '\0';
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string number = entry.path().filename();
      if (number.find_first_not_of("0123456789") != std::string::npos)
        continue;
      const std::string words = text_of(entry.path() / "cmdline");
      if (words.starts_with(program) && words.find(folder_.path().string()) != std::string::npos)
        return static_cast<pid_t>(std::stol(number));
    }
    return -1;
  }
};

TEST_P(Launchers, TrainsWhatTheBuiltInLauncherTrains) {
  const std::vector<std::string> more{"train.steps=5"};
  Process process(words("theirs", more), folder_ / "theirs.txt");
  EXPECT_EQ(process.wait(), 0) << process.output();
  EXPECT_NE(rank_log("theirs", 1).find("started by " + GetParam().name), std::string::npos)
      << rank_log("theirs", 1);
  ASSERT_EQ(train_ranks(2, "built-in", more), 0) << output_;
  EXPECT_EQ(hashes("theirs", "step-5"), hashes("built-in", "step-5"));
}

TEST_P(Launchers, SigtermToOneRankSavesAll) {
  Process process(words("asked", {"train.steps=100000"}), folder_ / "asked.txt");
  ASSERT_TRUE(process.says("step 10/")) << process.output();
  kill(a_rank(), SIGTERM);
  EXPECT_NE(process.wait(), 0);
  EXPECT_EQ(count(process.output(), "--resume continues"), 1) << process.output();
  EXPECT_FALSE(model::checkpoints_of_run(run_folder("asked")).empty());
}

TEST_P(Launchers, ALostRankEndsAllAndIsToldAtMostOnce) {
  Process process(words("lost", {"train.steps=100000"}), folder_ / "lost.txt");
  ASSERT_TRUE(process.says("step 10/")) << process.output();
  kill(a_rank(), SIGKILL);
  EXPECT_NE(process.wait(), 0);
  EXPECT_LE(count(process.output(), "is lost"), 1) << process.output();
  for (int i = 0; i < 6000 && a_rank() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(a_rank(), -1);
}

INSTANTIATE_TEST_SUITE_P(All, Launchers, testing::Values(kMpirun, kSrun), [](const auto& launcher) {
  return launcher.param.name;
});

}  // namespace
}  // namespace sterna::tests
