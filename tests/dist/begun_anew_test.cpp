// Ranks that meet: those of one job, and once more.
#include <gtest/gtest.h>

#include "tests/dist/faults_fixture.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

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
