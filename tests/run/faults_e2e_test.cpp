// A rank that is killed, held, out of memory or without its launcher: the job ends, soon, with one
// message that says whose fault it was, and leaves no process behind.
#include "tests/run/ranks_fixture.h"

namespace sterna::tests {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

const std::vector<std::string> kLong{
    "train.schedule=constant", "train.checkpoint_every=0", "train.steps=1000000", "dist.timeout=4"};

class Faults : public RankTraining {
 protected:
  /// Trains until steps are done, does `harm` to a rank, and expects the end.
  void harm(int64_t ranks, int64_t victim, const std::function<void(pid_t)>& harm) {
    Program program(of_ranks(ranks, "harmed", kLong), folder_ / "output.txt");
    ASSERT_TRUE(program.says("step 10/")) << program.output();
    const auto found = processes(ranks + 1);
    ASSERT_EQ(std::ssize(found), ranks + 1);
    const auto start = Clock::now();
    harm(found.at(victim));
    EXPECT_EQ(program.wait(), 70) << program.output();
    EXPECT_LT(Clock::now() - start, 30s);
    EXPECT_TRUE(living().empty());
    output_ = program.output();
    EXPECT_EQ(count(output_, "sterna: "), 1) << output_;
    expect_says("rank " + std::to_string(victim) + " on " + dist::host_name() + " (process " +
                std::to_string(found.at(victim)) + ")");
    EXPECT_NE(output_.find("step ", output_.find("sterna: ")), std::string::npos) << output_;
    EXPECT_NE(output_.find("collective ", output_.find("sterna: ")), std::string::npos) << output_;
  }

  /// Bytes of address space that a process has.
  static rlim_t virtual_memory(pid_t process) {
    std::ifstream pages("/proc/" + std::to_string(process) + "/statm");
    rlim_t count = 0;
    pages >> count;
    return count * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
  }

  void expect_says(const std::string& part) {
    EXPECT_NE(output_.find(part), std::string::npos) << "expected '" << part << "' in\n" << output_;
  }
};

TEST_F(Faults, AKilledRankEndsTwo) {
  ASSERT_NO_FATAL_FAILURE(harm(2, 1, [](pid_t rank) { kill(rank, SIGKILL); }));
  expect_says("is lost: it was ended by signal 9 (SIGKILL)");
}

TEST_F(Faults, AKilledRankZeroEndsFour) {
  ASSERT_NO_FATAL_FAILURE(harm(4, 0, [](pid_t rank) { kill(rank, SIGKILL); }));
  expect_says("is lost: it was ended by signal 9 (SIGKILL)");
  expect_says("missed in collective ");
}

TEST_F(Faults, AHeldRankEndsTwo) {
  ASSERT_NO_FATAL_FAILURE(harm(2, 0, [](pid_t rank) { kill(rank, SIGSTOP); }));
  expect_says("is lost: no sign of life");
}

TEST_F(Faults, AHeldRankEndsFour) {
  ASSERT_NO_FATAL_FAILURE(harm(4, 2, [](pid_t rank) { kill(rank, SIGSTOP); }));
  expect_says("is lost: no sign of life");
}

TEST_F(Faults, AJobThatIsHeldAsAWholeForLongerThanTheTimeoutGoesOn) {
  Program program(of_ranks(2, "held", kLong), folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 10/")) << program.output();
  program.signal(SIGTSTP);  // as Ctrl-Z does
  std::this_thread::sleep_for(500ms);
  const std::string before = text_of(run_folder("held") / "log.jsonl");
  std::this_thread::sleep_for(7s);
  EXPECT_EQ(text_of(run_folder("held") / "log.jsonl"), before) << "a rank was not held";
  program.signal(SIGCONT);
  std::this_thread::sleep_for(2s);
  EXPECT_GT(text_of(run_folder("held") / "log.jsonl").size(), before.size()) << program.output();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
}

TEST_F(Faults, ARankWithoutMemoryEndsAllAndSaysWhere) {
  // The evaluation needs more than the steps before it; from then on there is no more.
  write_text_file(folder_ / "long.txt", tiny_text(6000));
  Program program(of_ranks(2,
                           "poor",
                           {"eval.text=" + (folder_ / "long.txt").string(),
                            "eval.before=false",
                            "eval.every=40",
                            "eval.window=250",
                            "eval.batch=300",
                            "train.log_every=1",
                            "dist.timeout=4"}),
                  folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 1/40")) << program.output();
  const pid_t poor = processes(3).at(1);
  const rlim_t used = virtual_memory(poor);
  const rlimit little{used + (rlim_t{8} << 20), used + (rlim_t{8} << 20)};
  ASSERT_EQ(prlimit(poor, RLIMIT_AS, &little, nullptr), 0);
  EXPECT_EQ(program.wait(), 70) << program.output();
  output_ = program.output();
  EXPECT_EQ(count(output_, "sterna: "), 1) << output_;
  expect_says("rank 1 on " + dist::host_name() + " (process " + std::to_string(poor) +
              ") failed in step ");
  expect_says("memory");
  EXPECT_TRUE(living().empty());
}

TEST_F(Faults, RanksDieWithTheirLauncher) {
  Program program(of_ranks(2, "orphans", kLong), folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 10/")) << program.output();
  processes(3);
  program.signal(SIGKILL);
  program.wait();
  for (int i = 0; i < 100 && !living().empty(); ++i)
    std::this_thread::sleep_for(50ms);
  EXPECT_TRUE(living().empty());
}

TEST_F(Faults, LostRanksBeginAnewFromTheNewestCheckpointAndEndInTheSameWeights) {
  const std::vector<std::string> more{"train.steps=60", "train.checkpoint_every=2"};
  ASSERT_EQ(train_ranks(2, "straight", more), 0) << output_;
  std::vector<std::string> again = of_ranks(2, "restarted", more);
  again.insert(again.end(), {"--max-restarts", "3"});
  Program program(again, folder_ / "restarted.txt");
  const std::string marks[] = {"step 10/60", "restart 1 of 3"};
  for (int64_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(program.says(marks[i])) << program.output();
    const auto found = processes(3);
    if (found.contains(i))
      kill(found.at(i), SIGKILL);
  }
  EXPECT_EQ(program.wait(), 0) << program.output();
  EXPECT_NE(program.output().find("resuming "), std::string::npos) << program.output();
  EXPECT_EQ(hashes("restarted", "step-60"), hashes("straight", "step-60"));
  EXPECT_EQ(losses("restarted"), losses("straight"));
  EXPECT_TRUE(living().empty());
}

TEST_F(Faults, AreNotRestartedForAMistakeOrMoreOftenThanAllowed) {
  EXPECT_EQ(train_ranks(2, "wrong", {"train.stepz=1", "--max-restarts", "3"}), 2) << output_;
  EXPECT_EQ(output_.find("restart"), std::string::npos) << output_;
  std::vector<std::string> words = of_ranks(2, "twice", kLong);
  words.insert(words.end(), {"--max-restarts", "1"});
  Program program(words, folder_ / "twice.txt");
  ASSERT_TRUE(program.says("step 10/")) << program.output();
  kill(processes(3).at(1), SIGKILL);
  ASSERT_TRUE(program.says("restart 1 of 1")) << program.output();
  kill(processes(3).at(0), SIGKILL);
  EXPECT_EQ(program.wait(), 70) << program.output();
}

}  // namespace
}  // namespace sterna::tests
