// A rank that is killed, held, out of memory or without its launcher: the job ends, soon, with one
// message that says whose fault it was, and leaves no process behind.
#include <iostream>
#include <sys/stat.h>

#include "tests/run/ranks_fixture.h"
#include "tests/support/port.h"

namespace sterna::tests {
namespace {

using namespace std::chrono_literals;

// Seconds. The first: where a test waits until somebody is missed.
const std::string kShort = "dist.timeout=8";
const std::string kPatient = "dist.timeout=60";

/// A run without an end.
std::vector<std::string> long_run(const std::string& timeout) {
  return {"train.schedule=constant", "train.checkpoint_every=0", "train.steps=1000000", timeout};
}

class Faults : public RankTraining {
 protected:
  /// Trains until steps are done, does `harm` to a rank, and expects the end.
  void harm(const std::vector<std::string>& words,
            int64_t victim,
            const std::function<void(pid_t)>& harm) {
    const int64_t ranks = std::stoll(words.back());
    Program program(words, folder_ / "output.txt");
    ASSERT_TRUE(program.says("step 10/")) << program.output();
    const auto found = processes(ranks + 1);
    ASSERT_EQ(std::ssize(found), ranks + 1);
    harm(found.at(victim));
    EXPECT_EQ(program.wait(), 70) << program.output();
    // Since the last step that was done: it may take some until the harm tells.
    const std::chrono::duration<double> seconds =
        std::filesystem::file_time_type::clock::now() -
        std::filesystem::last_write_time(run_folder("harmed") / "log.jsonl");
    EXPECT_LT(seconds, 60s);
    std::cout << "  ended after " << seconds.count() << " s" << std::endl;
    expect_nothing_left();
    output_ = program.output();
    EXPECT_EQ(count(output_, "sterna: "), 1) << output_;
    expect_says("rank " + std::to_string(victim) + " on " + dist::host_name() + " (process " +
                std::to_string(found.at(victim)) + ")");
    EXPECT_NE(output_.find("step ", output_.find("sterna: ")), std::string::npos) << output_;
    EXPECT_NE(output_.find("collective ", output_.find("sterna: ")), std::string::npos) << output_;
  }

  void expect_nothing_left() {
    EXPECT_TRUE(living().empty());
    EXPECT_EQ(left_behind(), std::vector<std::string>());
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
  ASSERT_NO_FATAL_FAILURE(
      harm(of_ranks(2, "harmed", long_run(kPatient)), 1, [](pid_t rank) { kill(rank, SIGKILL); }));
  expect_says("is lost: it was ended by signal 9 (SIGKILL)");
}

TEST_F(Faults, AKilledRankZeroEndsFour) {
  ASSERT_NO_FATAL_FAILURE(
      harm(of_ranks(4, "harmed", long_run(kPatient)), 0, [](pid_t rank) { kill(rank, SIGKILL); }));
  expect_says("is lost: it was ended by signal 9 (SIGKILL)");
  expect_says("missed in collective ");
}

TEST_F(Faults, AHeldRankEndsTwo) {
  ASSERT_NO_FATAL_FAILURE(
      harm(of_ranks(2, "harmed", long_run(kShort)), 0, [](pid_t rank) { kill(rank, SIGSTOP); }));
  expect_says("is lost: no sign of life");
}

TEST_F(Faults, AHeldRankEndsFour) {
  ASSERT_NO_FATAL_FAILURE(
      harm(of_ranks(4, "harmed", long_run(kShort)), 2, [](pid_t rank) { kill(rank, SIGSTOP); }));
  expect_says("is lost: no sign of life");
}

TEST_F(Faults, AJobThatIsHeldAsAWholeForLongerThanTheTimeoutGoesOn) {
  Program program(of_ranks(2, "held", long_run(kShort)), folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 10/")) << program.output();
  const auto found = processes(3);
  program.signal(SIGTSTP);  // as Ctrl-Z does
  for (const auto& [rank, process] : found)
    ASSERT_TRUE(comes([process = process] { return is_held(process); })) << rank;
  const std::string before = text_of(run_folder("held") / "log.jsonl");
  std::this_thread::sleep_for(10s);
  EXPECT_EQ(text_of(run_folder("held") / "log.jsonl"), before) << "a rank was not held";
  program.signal(SIGCONT);
  EXPECT_TRUE(comes([&] {
    return text_of(run_folder("held") / "log.jsonl").size() > before.size() || !program.lives();
  }));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
}

/// Ranks of which one has no more memory from some step on.
class Poor : public Faults, public testing::WithParamInterface<int64_t> {};

TEST_P(Poor, RankEndsAllAndSaysWhere) {
  // The evaluation needs more than the steps before it.
  write_text_file(folder_ / "long.txt", tiny_text(6000));
  const std::vector<std::string> words = of_ranks(GetParam(),
                                                  "harmed",
                                                  {"eval.text=" + (folder_ / "long.txt").string(),
                                                   "eval.before=false",
                                                   "eval.every=200",
                                                   "eval.window=250",
                                                   "eval.batch=300",
                                                   "train.steps=200",
                                                   kPatient});
  ASSERT_NO_FATAL_FAILURE(harm(words, 1, [](pid_t rank) {
    // Held, so that the others wait for it in the next step.
    kill(rank, SIGSTOP);
    ASSERT_TRUE(comes([rank] { return is_held(rank); }));
    const rlim_t used = virtual_memory(rank);
    const rlimit little{used + (rlim_t{8} << 20), used + (rlim_t{8} << 20)};
    ASSERT_EQ(prlimit(rank, RLIMIT_AS, &little, nullptr), 0);
    kill(rank, SIGCONT);
  }));
  expect_says(") failed in step ");
  expect_says("memory");
}

INSTANTIATE_TEST_SUITE_P(OfTwoAndFour, Poor, testing::Values(2, 4));

TEST_F(Faults, RanksDieWithTheirLauncher) {
  Program program(of_ranks(2, "orphans", long_run(kPatient)), folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 10/")) << program.output();
  processes(3);
  program.signal(SIGKILL);
  program.wait();
  for (int i = 0; i < 100 && !living().empty(); ++i)
    std::this_thread::sleep_for(50ms);
  EXPECT_TRUE(living().empty());
}

TEST_F(Faults, LostRanksBeginAnewFromTheNewestCheckpointAndEndInTheSameWeights) {
  std::vector<std::string> more = long_run(kPatient);
  more[1] = "train.checkpoint_every=2";
  std::vector<std::string> again = of_ranks(2, "restarted", more);
  again.insert(again.end(), {"--max-restarts", "3"});
  Program program(again, folder_ / "restarted.txt");
  const std::string marks[] = {"step 10/", "restart 1 of 3"};
  for (int64_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(program.says(marks[i])) << program.output();
    const auto found = processes(3);
    ASSERT_TRUE(found.contains(i));
    kill(found.at(i), SIGKILL);
  }
  ASSERT_TRUE(program.says("restart 2 of 3")) << program.output();
  const size_t before = losses_or_none("restarted").size();
  ASSERT_TRUE(
      comes([&] { return losses_or_none("restarted").size() > before + 4 || !program.lives(); }));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_NE(program.output().find("resuming "), std::string::npos) << program.output();
  expect_nothing_left();
  // However far it came: nobody disturbs a second one.
  const std::string last = std::filesystem::path(newest("restarted")).filename();
  more[1] = "train.checkpoint_every=0";
  more[2] = "train.steps=" + last.substr(5);
  ASSERT_EQ(train_ranks(2, "straight", more), 0) << output_;
  EXPECT_EQ(hashes("restarted", last), hashes("straight", last));
  EXPECT_EQ(losses("restarted"), losses("straight"));
}

TEST_F(Faults, AreNotRestartedForAMistakeOrMoreOftenThanAllowed) {
  EXPECT_EQ(train_ranks(2, "wrong", {"train.stepz=1", "--max-restarts", "3"}), 2) << output_;
  EXPECT_EQ(output_.find("restart"), std::string::npos) << output_;
  std::vector<std::string> words = of_ranks(2, "twice", long_run(kPatient));
  words.insert(words.end(), {"--max-restarts", "1"});
  Program program(words, folder_ / "twice.txt");
  ASSERT_TRUE(program.says("step 10/")) << program.output();
  kill(processes(3).at(1), SIGKILL);
  ASSERT_TRUE(program.says("restart 1 of 1")) << program.output();
  kill(processes(3).at(0), SIGKILL);
  EXPECT_EQ(program.wait(), 70) << program.output();
}

/// Whoever reads the text waits for a writer who does not come: the program is in its first stage.
class Stuck : public Faults {
 protected:
  void take_the_text_away() {
    std::filesystem::rename(folder_ / "text.txt", folder_ / "kept.txt");
    ASSERT_EQ(mkfifo((folder_ / "text.txt").c_str(), 0600), 0);
  }

  void give_it_back() const { std::filesystem::rename(folder_ / "kept.txt", folder_ / "text.txt"); }

  void expect_stopped(Program& program) {
    ASSERT_TRUE(comes([&] { return !program.lives(); })) << "still there\n" << program.output();
    EXPECT_EQ(program.wait(), 3) << program.output();
    EXPECT_EQ(count(program.output(), "stopped before the first step; nothing to save"), 1)
        << program.output();
    expect_nothing_left();
    EXPECT_FALSE(std::filesystem::exists(run_folder("stuck")));
  }
};

TEST_F(Stuck, RanksWhoseLauncherIsAskedToStopEndWithThree) {
  take_the_text_away();
  Program program(of_ranks(2, "stuck"), folder_ / "output.txt");
  processes(3);
  program.signal(SIGTERM);
  expect_stopped(program);
}

TEST_F(Stuck, RanksOfWhichOneIsAskedToStopEndWithThree) {
  take_the_text_away();
  Program program(of_ranks(2, "stuck"), folder_ / "output.txt");
  kill(processes(3).at(1), SIGTERM);
  expect_stopped(program);
}

TEST_F(Stuck, AProcessAloneThatIsAskedToStopEndsWithThree) {
  take_the_text_away();
  Program program(arguments("stuck"), folder_ / "output.txt");
  // Before it opens the text, or in the midst of it.
  const auto opens = [&] {
    const auto found = living();
    return found.contains(-1) && catches(found.at(-1), SIGALRM);
  };
  ASSERT_TRUE(comes(opens)) << program.output();
  program.signal(SIGTERM);
  expect_stopped(program);
}

TEST_F(Stuck, ARankThatFindsNoStoreAndIsAskedToStopEndsWithThree) {
  Program program(arguments("stuck"), folder_ / "output.txt", [port = unused_port()] {
    setenv("RANK", "1", 1);
    setenv("WORLD_SIZE", "2", 1);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    setenv("MASTER_PORT", std::to_string(port).c_str(), 1);
  });
  const auto waits = [&] {
    const auto found = living();
    return found.contains(1) && catches(found.at(1), SIGALRM);
  };
  ASSERT_TRUE(comes(waits)) << program.output();
  kill(living().at(1), SIGTERM);
  expect_stopped(program);
}

TEST_F(Stuck, BitsThatAreMeasuredAreNotMeasuredAgainByRanksThatBeginAnew) {
  write_text_file(folder_ / "budget.txt", tiny_text(3000));
  std::vector<std::string> words =
      of_ranks(2,
               "bits",
               {"quant.weight={ name = 'affine_learned', bits = 2, group = 16 }",
                "quant.budget_bits=4",
                "quant.budget_text=" + (folder_ / "budget.txt").string(),
                "quant.budget_tokens=2048",
                "train.steps=2",
                kPatient});
  words.insert(words.end(), {"--max-restarts", "1"});
  Program program(words, folder_ / "output.txt");
  ASSERT_TRUE(program.says("sensitivity of block 1")) << program.output();
  take_the_text_away();  // the session that is opened with the bits waits for it
  const auto measured = [&] {
    return text_of(run_folder("bits") / "recipe.toml").find("layers.1.mlp.down_proj") !=
           std::string::npos;
  };
  ASSERT_TRUE(comes(measured)) << program.output();
  const auto found = processes(3);
  ASSERT_EQ(found.size(), 3u) << program.output();
  program.signal(SIGSTOP);  // so that it begins anew when the text is back
  kill(found.at(0), SIGKILL);
  kill(found.at(1), SIGKILL);
  give_it_back();
  program.signal(SIGCONT);
  ASSERT_TRUE(comes([&] { return !program.lives(); })) << "still there\n" << program.output();
  EXPECT_EQ(program.wait(), 0) << program.output();
  EXPECT_EQ(count(program.output(), "restart 1 of 1"), 1) << program.output();
  EXPECT_EQ(count(program.output(), "assigned: "), 1) << program.output();
}

TEST_F(Stuck, ARankThatHangsInAStageOfItsOwnEndsTheJob) {
  take_the_text_away();
  EXPECT_EQ(train_ranks(2, "stuck", {kShort}), 70) << output_;
  EXPECT_EQ(count(output_, "sterna: "), 1) << output_;
  expect_says(" hangs: it has neither computed, read nor written for 8 s; before the first step");
  expect_says("collective ");
  expect_nothing_left();
}

TEST_F(Stuck, ALauncherThatBeginsAnewDoesNotGoOnWithARunFromBefore) {
  const std::vector<std::string> more{"train.steps=4", kPatient};
  ASSERT_EQ(train_ranks(2, "old", more), 0) << output_;
  const std::string before = hashes("old", "step-4");
  take_the_text_away();
  std::filesystem::remove_all(folder_ / "tokens");
  std::vector<std::string> words = of_ranks(2, "old", {"train.steps=8", kPatient});
  words.insert(words.end(), {"--max-restarts", "1"});
  Program program(words, folder_ / "again.txt");
  kill(processes(3).at(1), SIGKILL);
  give_it_back();
  EXPECT_EQ(program.wait(), 2) << program.output();
  EXPECT_NE(program.output().find("restart 1 of 1"), std::string::npos) << program.output();
  EXPECT_NE(program.output().find("holds a run already"), std::string::npos) << program.output();
  EXPECT_EQ(checkpoints("old"), std::vector<std::string>{"step-4"});
  EXPECT_EQ(hashes("old", "step-4"), before);
}

/// Runs of a launcher like torchrun, whose jobs may all have one name.
class Relaunched : public Faults {
 protected:
  /// A launcher that starts `ranks` with `restarts` as their count for each, one behind the other.
  /// @return  the exit code of the last one's rank 0
  int launch(const std::string& restarts, int ranks) {
    std::string line = "export MASTER_ADDR=127.0.0.1 TORCHELASTIC_RUN_ID=none WORLD_SIZE=" +
                       std::to_string(ranks) + "; for count in " + restarts +
                       "; do export TORCHELASTIC_RESTART_COUNT=$count MASTER_PORT=" +
                       std::to_string(unused_port()) + "; for rank in";
    for (int rank = ranks - 1; rank >= 0; --rank)  // rank 0 is the one that is waited for
      line += " " + std::to_string(rank);
    line += "; do RANK=$rank '" + (binary_dir() / "sterna").string() + "'";
    for (const std::string& word : arguments("named", {"train.steps=4", "dist.timeout=60"}))
      line += " '" + word + "'";
    line += " & done; wait $!; code=$?; wait; done; exit $code";
    Process shell({"/bin/sh", "-c", line}, folder_ / "output.txt");
    const bool ended = comes([&] { return !shell.lives(); });
    EXPECT_TRUE(ended) << "still there\n" << shell.output();
    if (!ended)
      for (const auto& [rank, process] : living())
        kill(process, SIGKILL);
    output_ = shell.output();
    return shell.wait();
  }
};

class RelaunchedRanks : public Relaunched, public testing::WithParamInterface<int> {};

TEST_P(RelaunchedRanks, GoOnWithWhatTheirOwnLaunchHasBegunAndWithNothingElse) {
  ASSERT_EQ(launch("0 1", GetParam()), 0) << output_;
  EXPECT_NE(output_.find("resuming "), std::string::npos) << output_;
  EXPECT_EQ(launch("1", GetParam()), 2) << output_;
  EXPECT_NE(output_.find("holds a run already"), std::string::npos) << output_;
}

INSTANTIATE_TEST_SUITE_P(OneAndTwo, RelaunchedRanks, testing::Values(1, 2));

}  // namespace
}  // namespace sterna::tests
