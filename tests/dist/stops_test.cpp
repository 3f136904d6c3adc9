// Ranks of which one is asked to stop.
#include <gtest/gtest.h>

#include "tests/dist/faults_fixture.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

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

}  // namespace
}  // namespace sterna::dist
