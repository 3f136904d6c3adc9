// Ranks that are processes of this test program, one of which fails.
#include <gtest/gtest.h>

#include "tests/dist/faults_fixture.h"

namespace sterna::dist {
namespace {

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

TEST_F(RanksOfThree, OneThatAbortsEndsAll) {
  expect(end_of_ranks(3, "aborts"), 70, {"rank 1 on ", "failed in step 3", "no way on"});
}

TEST_F(RanksOfThree, OneWithAMistakeOfTheUserEndsAllWithTwo) {
  expect(end_of_ranks(3, "mistakes"), 2, {"error: a key is wrong (rank 1 on " + host_name() + ")"});
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

TEST_F(RanksOfThree, OneThatDiesBeforeItCanSpeakIsSpokenForByTheLauncher) {
  const End end = end_of_launched("dies telling");
  EXPECT_EQ(end.codes, std::vector<int>{70}) << end.said;
  // Twice, because the launcher begins anew once.
  EXPECT_NE(end.said.find("the last words of rank 1"), std::string::npos) << end.said;
  const size_t first = end.said.find("sterna: restart 1 of 1");
  ASSERT_NE(first, std::string::npos) << end.said;
  EXPECT_EQ(messages(end.said.substr(0, first)), 1) << end.said;
}

}  // namespace
}  // namespace sterna::dist
