// Ranks that are processes of this test program, one of which does what a rank should not.
#include <csignal>

#include <gtest/gtest.h>

#include "tests/dist/deeds.h"
#include "tests/support/port.h"
#include "trainer/dist/group.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Seconds: where a test has to wait until somebody is missed.
constexpr const char* kShort = "5";

struct End {
  std::vector<int> codes;  ///< by rank
  std::string said;        ///< by all
  double seconds = 0;
};

using Processes = std::vector<std::unique_ptr<tests::Process>>;

/// @param held  the one that does not end by itself
End end_of(const Processes& processes, Clock::time_point start, tests::Process* held = nullptr) {
  End end;
  for (const auto& process : processes) {
    if (process.get() == held)
      continue;
    process->wait();
  }
  if (held != nullptr)
    held->signal(SIGKILL);
  for (const auto& process : processes) {
    end.codes.push_back(process->wait());
    end.said += process->output();
  }
  end.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return end;
}

/// Variables of ranks without a launcher.
Variables of_rank(int rank, int ranks, int port) {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(ranks)},
          {"MASTER_ADDR", "127.0.0.1"},
          {"MASTER_PORT", std::to_string(port)}};
}

int messages(const std::string& said) {
  int found = 0;
  for (const char* mark : {"sterna: ", "error: "})
    for (size_t at = said.find(mark); at != std::string::npos; at = said.find(mark, at + 1))
      ++found;
  return found;
}

/// Ranks without a launcher, rank 0 serving the store; their words in files that begin with
/// `files`.
Processes start_ranks(int ranks,
                      const std::string& deed,
                      const std::filesystem::path& files,
                      const Variables& more = {}) {
  const int port = tests::unused_port();
  Processes processes;
  for (int rank = 0; rank < ranks; ++rank) {
    Variables all = of_rank(rank, ranks, port);
    all[kDeed] = deed;
    all.insert(more.begin(), more.end());
    processes.push_back(start("RankOfATest", files.string() + "-" + std::to_string(rank), all));
  }
  return processes;
}

class RanksFail : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!has_gloo())
      GTEST_SKIP() << "built without Gloo's headers (libgloo-dev)";
  }

  End end_of_ranks(int ranks, const std::string& deed, const Variables& more = {}) {
    const auto begin = Clock::now();
    return end_of(start_ranks(ranks, deed, file(), more), begin);
  }

  End end_of_launched(const std::string& deed, const Variables& more = {}) {
    Processes processes;
    const auto begin = Clock::now();
    Variables all{{kDeed, deed}, {kRanks, "3"}};
    all.insert(more.begin(), more.end());
    processes.push_back(start("LauncherOfATest", file(), all));
    return end_of(processes, begin);
  }

  std::filesystem::path file() { return folder_ / std::to_string(files_++); }

  /// @param ended  a rank that ended otherwise, and how
  static void expect(End end,
                     int code,
                     const std::vector<std::string>& parts,
                     int ended = -1,
                     int how = 128 + SIGABRT) {
    if (ended >= 0) {
      EXPECT_EQ(end.codes.at(static_cast<size_t>(ended)), how) << end.said;
      end.codes.erase(end.codes.begin() + ended);
    }
    EXPECT_EQ(end.codes, std::vector<int>(end.codes.size(), code)) << end.said;
    EXPECT_LT(end.seconds, 60);
    EXPECT_EQ(messages(end.said), 1) << end.said;
    for (const std::string& part : parts)
      EXPECT_NE(end.said.find(part), std::string::npos) << part << " in\n" << end.said;
  }

  tests::TempFolder folder_;
  int files_ = 0;
};

// Every fault of a rank, in a world of two and of four.
TEST_P(RanksFail, OneThatThrowsEndsAllAndSaysWhyAndWhere) {
  expect(end_of_ranks(GetParam(), "throws"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          ") failed in step 3, behind collective 4 (all_reduce of 4 KiB): a disk has a hole"});
}

TEST_P(RanksFail, OneWhoseOwnWatchRunsOutOfMemorySaysSo) {
  expect(end_of_ranks(GetParam(), "starves"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          "failed in step 3, behind collective 4 (all_reduce of 4 KiB): out of memory"});
}

INSTANTIATE_TEST_SUITE_P(OfTwoAndFour, RanksFail, testing::Values(2, 4));

class RanksOfThree : public RanksFail {};

TEST_F(RanksOfThree, OneThatAbortsEndsAll) {
  expect(end_of_ranks(3, "aborts"), 70, {"rank 1 on ", "failed in step 3", "no way on"});
}

TEST_F(RanksOfThree, OneWithAMistakeOfTheUserEndsAllWithTwo) {
  expect(end_of_ranks(3, "mistakes"), 2, {"error: a key is wrong (rank 1 on " + host_name() + ")"});
}

/// Jobs in which somebody has to be missed for a while: they begin together.
class RanksMissed : public RanksOfThree {
 protected:
  static void SetUpTestSuite() {
    if (!has_gloo())
      return;
    folder_of_all_ = std::make_unique<tests::TempFolder>();
    begin_ = Clock::now();
    begin("crashes of two", 2, "crashes");
    begin("crashes of four", 4, "crashes");
    for (const char* deed : {"spins", "sleeps at a barrier", "is held at a barrier"})
      begin(deed, 3, deed);
  }

  static void TearDownTestSuite() {
    jobs_.clear();
    folder_of_all_.reset();
  }

  static void begin(const std::string& name, int ranks, const std::string& deed) {
    jobs_[name] = start_ranks(ranks, deed, *folder_of_all_ / name, {{kPatience, kShort}});
  }

  static End end(const std::string& name) {
    const Processes& ranks = jobs_.at(name);
    const bool held = name == "is held at a barrier";
    return end_of(ranks, begin_, held ? ranks.at(1).get() : nullptr);
  }

  static inline std::unique_ptr<tests::TempFolder> folder_of_all_;
  static inline std::map<std::string, Processes> jobs_;
  static inline Clock::time_point begin_;
};

TEST_F(RanksMissed, OneOfTwoThatCrashesIsNamed) {
  expect(end("crashes of two"),
         70,
         {"rank 1 on " + host_name(), "is lost: no sign of life", "step 4, missed in collective 5"},
         /*ended=*/1);
}

TEST_F(RanksMissed, OneOfFourThatCrashesIsNamed) {
  expect(end("crashes of four"),
         70,
         {"rank 1 on " + host_name(), "is lost: no sign of life", "step 4, missed in collective 5"},
         /*ended=*/1);
}

TEST_F(RanksMissed, OneThatWorksButDoesNotComeIsNamed) {
  expect(end("spins"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          "is alive, but does not come: step 4, missed in collective 5 (all_reduce of 4 KiB)",
          "it is in step 3, behind collective 4"});
}

TEST_F(RanksMissed, OneThatHangsWhileTheOthersWaitPatientlyIsNamed) {
  expect(end("sleeps at a barrier"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          "hangs: it has neither computed, read nor written for ",
          "step 3, missed in collective 5 (barrier)",
          "it is in step 3, behind collective 4"});
}

TEST_F(RanksMissed, OneThatIsHeldWhileTheOthersWaitPatientlyIsNamed) {
  expect(end("is held at a barrier"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          "is lost: no sign of life",
          "step 3, missed in collective 5 (barrier)"},
         /*ended=*/1,
         128 + SIGKILL);
}

TEST_F(RanksOfThree, RankZeroThatCrashesWithItsStoreIsSaidByOneOfTheOthers) {
  expect(end_of_ranks(3, "crash zero"),
         70,
         {" on " + host_name() + " has lost the store of the job", "step "},
         /*ended=*/0);
}

TEST_F(RanksOfThree, TheFirstTwoThatCrashWithTheStoreAreSaidByOneOfTheOthers) {
  End end = end_of_ranks(4, "crash both");
  ASSERT_EQ(end.codes.at(1), 128 + SIGABRT) << end.said;
  end.codes.erase(end.codes.begin() + 1);
  expect(end, 70, {" on " + host_name()}, /*ended=*/0);
}

TEST_F(RanksOfThree, OneWithManyThreadsThatFailAtOnceIsHeardOnce) {
  expect(end_of_ranks(3, "fails twice"), 70, {"rank 1 on ", "one of five threads"});
}

TEST_F(RanksOfThree, OneThatIsAskedToStopBeforeThereIsAnythingToSaveEndsAllWithThree) {
  expect(end_of_ranks(3, "stops"),
         3,
         {"stopped before the first step; nothing to save (rank 1 on " + host_name()});
}

TEST_F(RanksOfThree, OneThatIsAskedToStopLetsAllEndOrderly) {
  const End end = end_of_ranks(3, "stops orderly");
  EXPECT_EQ(end.codes, (std::vector<int>{3, 3, 3})) << end.said;
  EXPECT_EQ(messages(end.said), 0) << end.said;
  EXPECT_EQ(end.said.find("was not told"), std::string::npos) << end.said;
}

TEST_F(RanksOfThree, OfWhichSomeEndAtOnceByASecondSignalAreNotCalledLost) {
  const auto launcher = start("LauncherOfATest", file(), {{kDeed, "ends apart"}, {kRanks, "2"}});
  const auto waiting = [&] {
    const std::string said = launcher->output();
    const size_t first = said.find("waiting");
    return first != said.npos && said.find("waiting", first + 1) != said.npos;
  };
  for (int i = 0; i < 1200 && !waiting() && launcher->lives(); ++i)
    std::this_thread::sleep_for(50ms);
  ASSERT_TRUE(waiting()) << launcher->output();
  launcher->signal(SIGINT);
  EXPECT_EQ(launcher->wait(), 128 + SIGINT) << launcher->output();
  EXPECT_EQ(messages(launcher->output()), 0) << launcher->output();
}

TEST_F(RanksOfThree, OneThatDiesBeforeItCanSpeakIsSpokenForByTheLauncher) {
  const End end = end_of_launched("dies telling");
  EXPECT_EQ(end.codes, std::vector<int>{70}) << end.said;
  // Twice, because the launcher begins anew once.
  EXPECT_NE(end.said.find("the last words of rank 1"), std::string::npos) << end.said;
  const size_t first = end.said.find("sterna: restart 1 of 1");
  ASSERT_NE(first, std::string::npos) << end.said;
  EXPECT_EQ(messages(end.said.substr(0, first)), 1) << end.said;
}

TEST_F(RanksOfThree, AreBegunAnewAlthoughTheTerminalWasClosedBehindNohup) {
  const std::filesystem::path go = folder_ / "go";
  const auto launcher =
      start("LauncherOfATest", file(), {{kDeed, "again"}, {kRanks, "2"}, {kGo, go.string()}}, [] {
        signal(SIGHUP, SIG_IGN);
      });
  ASSERT_TRUE(launcher->says("waiting")) << launcher->output();
  launcher->signal(SIGHUP);
  std::this_thread::sleep_for(300ms);  // for a launcher that would take it
  std::ofstream{go};
  EXPECT_EQ(launcher->wait(), 0) << launcher->output();
  EXPECT_NE(launcher->output().find("restart 1 of 1"), std::string::npos) << launcher->output();
  EXPECT_NE(launcher->output().find("beginning 1"), std::string::npos) << launcher->output();
}

TEST_F(RanksOfThree, ARankOfAnotherJobOnTheSamePortEndsAndNamesBoth) {
  const int port = tests::unused_port();
  const auto rank = [&](int number, const std::string& job) {
    Variables all = of_rank(number, 2, port);
    all[kDeed] = "meets";
    all["TORCHELASTIC_RUN_ID"] = job;
    return start("RankOfATest", file(), all);
  };
  const auto zero = rank(0, "mine");
  const auto stray = rank(1, "yours");
  EXPECT_EQ(stray->wait(), 2) << stray->output();
  EXPECT_NE(stray->output().find("rank 1 of job yours, on " + host_name() + ", finds job mine at "),
            std::string::npos)
      << stray->output();
  const auto one = rank(1, "mine");
  EXPECT_EQ(zero->wait(), 0) << zero->output();
  EXPECT_EQ(one->wait(), 0) << one->output();
}

/// Ranks whose launcher serves a store that outlives them.
class RanksOfAgents : public RanksOfThree {
 protected:
  void SetUp() override {
    RanksOfThree::SetUp();
    if (IsSkipped())
      return;
    store_ = start("StoreOfATest", folder_ / "store", {});
    ASSERT_TRUE(store_->says(".\n")) << store_->output();
    const std::string said = store_->output();
    port_ = std::stoi(said.substr(said.find("port ") + 5));
  }

  /// @param count  what the rank's agent says of restarts
  std::unique_ptr<tests::Process> start_rank(int rank, const std::string& deed, int count) {
    Variables all = of_rank(rank, 2, port_);
    all[kDeed] = deed;
    all[kPatience] = kShort;
    all["TORCHELASTIC_USE_AGENT_STORE"] = "True";
    all["TORCHELASTIC_RESTART_COUNT"] = std::to_string(count);
    return start("RankOfATest", file(), all);
  }

  std::unique_ptr<tests::Process> store_;
  int port_ = 0;
};

TEST_F(RanksOfAgents, MeetAgainAlthoughTheirAgentsCountRestartsApart) {
  const auto zero = start_rank(0, "crashes", 0);
  const auto one = start_rank(1, "crashes", 0);
  EXPECT_EQ(zero->wait(), 70) << zero->output();
  EXPECT_EQ(one->wait(), 128 + SIGABRT) << one->output();
  const auto one_again = start_rank(1, "again", 1);
  std::this_thread::sleep_for(1500ms);  // for a rank that would take what was left for its own
  const auto zero_again = start_rank(0, "again", 0);
  EXPECT_EQ(zero_again->wait(), 0) << zero_again->output();
  EXPECT_EQ(one_again->wait(), 0) << one_again->output();
  EXPECT_NE(zero_again->output().find("beginning 1"), std::string::npos) << zero_again->output();
}

TEST_F(RanksOfAgents, LeaveWithTheirOwnCodeAStoreThatDoesNotAnswer) {
  Variables zero = of_rank(0, 2, port_);
  Variables one = of_rank(1, 2, port_);
  Processes ranks;
  for (Variables* each : {&zero, &one}) {
    (*each)[kDeed] = "leaves";
    (*each)[kPatience] = "8";
    (*each)[kGo] = (folder_ / "go").string();
    (*each)["TORCHELASTIC_USE_AGENT_STORE"] = "True";
    ranks.push_back(start("RankOfATest", file(), *each));
  }
  for (const auto& rank : ranks)
    ASSERT_TRUE(rank->says("waiting")) << rank->output();
  store_->signal(SIGSTOP);
  std::ofstream{folder_ / "go"};
  const End end = end_of(ranks, Clock::now());
  EXPECT_EQ(end.codes, (std::vector<int>{0, 0})) << end.said;
  EXPECT_EQ(messages(end.said), 0) << end.said;
}

TEST_F(RanksOfThree, UseTheNetworkCardThatGlooIsTold) {
  const End met = end_of_ranks(2, "meets", {{"GLOO_SOCKET_IFNAME", "lo"}});
  EXPECT_EQ(met.codes, (std::vector<int>{0, 0})) << met.said;
  expect(end_of_ranks(2, "meets", {{"GLOO_SOCKET_IFNAME", "nosuch0"}}),
         2,
         {"GLOO_SOCKET_IFNAME: this host has no network card 'nosuch0'; it has ", "lo"});
}

}  // namespace
}  // namespace sterna::dist
