// Ranks that are processes of this test program, one of which does what a rank should not.
#include <cstdlib>
#include <iostream>

#include <gtest/gtest.h>

#include "tests/support/program.h"
#include "trainer/dist/group.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kDeed = "STERNA_TEST_DEED";

/// A rank of a job: sums for ever, until rank 1 does its deed behind the third sum.
TEST(RankOfATest, DISABLED_Works) {
  const Launch launch = read_launch(process_environment());
  const std::string deed = std::getenv(kDeed);
  Talk talk(launch.rank, std::cout, std::cerr);
  Group group(launch, talk);
  World& world = group.join(/*timeout=*/2.0);
  for (int64_t step = 0;; ++step) {
    world.at_step(step);
    world.all_reduce({at::ones({1000})})->wait();
    if (launch.rank == 0 && step == 2 && deed == "crashes zero")
      std::abort();
    if (launch.rank != 1 || step != 2)
      continue;
    if (deed == "throws")
      group.fail(kRankLost, "a disk has a hole");
    if (deed == "mistakes")
      group.fail(2, "a key is wrong");
    if (deed == "aborts")
      world.abort("no way on");
    if (deed == "sleeps")
      std::this_thread::sleep_for(1h);
    if (deed == "crashes")
      std::abort();
  }
}

struct End {
  std::vector<int> codes;  ///< by rank
  std::string said;        ///< by all
  double seconds = 0;
};

/// Ranks without a launcher, rank 0 serving the store.
End end_of(const std::string& deed, int ranks = 3) {
  static int port = 30000 + static_cast<int>(getpid()) % 10000;
  const tests::TempFolder folder;
  ++port;
  std::vector<std::unique_ptr<tests::Process>> processes;
  const auto start = Clock::now();
  for (int rank = 0; rank < ranks; ++rank)
    processes.push_back(
        std::make_unique<tests::Process>(std::vector<std::string>{"/proc/self/exe",
                                                                  "--gtest_also_run_disabled_tests",
                                                                  "--gtest_filter=RankOfATest.*",
                                                                  "--gtest_brief=1"},
                                         folder / std::to_string(rank),
                                         [&, rank] {
                                           setenv(kDeed, deed.c_str(), 1);
                                           setenv("RANK", std::to_string(rank).c_str(), 1);
                                           setenv("WORLD_SIZE", std::to_string(ranks).c_str(), 1);
                                           setenv("MASTER_ADDR", "127.0.0.1", 1);
                                           setenv("MASTER_PORT", std::to_string(port).c_str(), 1);
                                         }));
  End end;
  for (const auto& process : processes) {
    end.codes.push_back(process->wait());
    end.said += process->output();
  }
  end.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return end;
}

class RanksFail : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_gloo())
      GTEST_SKIP() << "built without Gloo's headers (libgloo-dev)";
  }

  static void expect(const End& end, int code, const std::vector<std::string>& parts) {
    EXPECT_EQ(end.codes, std::vector<int>(end.codes.size(), code)) << end.said;
    EXPECT_LT(end.seconds, 25);
    size_t messages = 0;
    for (const char* mark : {"sterna: ", "error: "})
      for (size_t at = end.said.find(mark); at != std::string::npos;
           at = end.said.find(mark, at + 1))
        ++messages;
    EXPECT_EQ(messages, 1u) << end.said;
    for (const std::string& part : parts)
      EXPECT_NE(end.said.find(part), std::string::npos) << part << " in\n" << end.said;
  }
};

TEST_F(RanksFail, OneThatThrowsEndsAllAndSaysWhyAndWhere) {
  expect(end_of("throws"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          ") failed in step 3, behind collective 4 (all_reduce of 4 KiB): a disk has a hole"});
}

TEST_F(RanksFail, OneThatAbortsEndsAll) {
  expect(end_of("aborts"), 70, {"rank 1 on ", "failed in step 3", "no way on"});
}

TEST_F(RanksFail, OneWithAMistakeOfTheUserEndsAllWithTwo) {
  expect(end_of("mistakes"), 2, {"error: a key is wrong (rank 1 on " + host_name() + ")"});
}

TEST_F(RanksFail, OneThatLivesButDoesNotComeIsNamed) {
  expect(end_of("sleeps"),
         70,
         {"rank 1 on " + host_name() + " (process ",
          "is alive, but does not come: step 4, missed in collective 5 (all_reduce of 4 KiB)",
          "it is in step 3, behind collective 4"});
}

TEST_F(RanksFail, OneThatCrashesIsNamedByThoseThatMissIt) {
  End end = end_of("crashes");
  ASSERT_EQ(end.codes.size(), 3u);
  EXPECT_EQ(end.codes[1], 128 + SIGABRT);
  end.codes.erase(end.codes.begin() + 1);
  expect(
      end,
      70,
      {"rank 1 on " + host_name(), "is lost: no sign of life ", "step 4, missed in collective 5"});
}

TEST_F(RanksFail, RankZeroThatCrashesWithItsStoreIsSaidByRankOneAlone) {
  End end = end_of("crashes zero");
  ASSERT_EQ(end.codes.size(), 3u);
  EXPECT_EQ(end.codes[0], 128 + SIGABRT);
  end.codes.erase(end.codes.begin());
  expect(end, 70, {"rank 1 on " + host_name() + " has lost the store of the job", "step 4"});
}

}  // namespace
}  // namespace sterna::dist
