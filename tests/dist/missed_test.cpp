// Ranks that wait for one that does not come.
#include <gtest/gtest.h>

#include "tests/dist/faults_fixture.h"

namespace sterna::dist {
namespace {

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
         {"rank 1 on " + host_name() + " (process ",  // found by itself, or by the others
          "step 4, missed in collective 5 (all_reduce of 4 KiB)",
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

class CirclesOfRanks : public RanksFail {};

TEST_P(CirclesOfRanks, OneThatComputesInACircleWhileTheOthersWaitPatientlyIsNamed) {
  expect(end_of_ranks(GetParam(), "spins at a barrier", {{kPatience, kShort}}),
         70,
         {"rank 1 on " + host_name() + " (process ",
          "hangs: it has computed for 5 s without coming any further; ",
          "step 3, missed in collective 5 (barrier)",
          "it is in step 3, behind collective 4"});
}

INSTANTIATE_TEST_SUITE_P(OfTwoAndFour, CirclesOfRanks, testing::Values(2, 4));

TEST_F(RanksOfThree, WaitForOneThatComputesTensorsForLongerThanTheirTimeout) {
  const End end = end_of_ranks(2, "works at a barrier", {{kPatience, kShort}});
  EXPECT_EQ(end.codes, (std::vector<int>{0, 0})) << end.said;
}

TEST_F(RanksOfThree, WaitForOneThatSaysForLongerThanTheirTimeoutThatItGoesOn) {
  const End end = end_of_ranks(2, "tells at a barrier", {{kPatience, kShort}});
  EXPECT_EQ(end.codes, (std::vector<int>{0, 0})) << end.said;
}

TEST_F(RanksOfThree, AreNotEndedForACircleThatNobodyWaitsFor) {
  const End end = end_of_ranks(2, "spins alike", {{kPatience, kShort}});
  EXPECT_EQ(end.codes, (std::vector<int>{0, 0})) << end.said;
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

}  // namespace
}  // namespace sterna::dist
