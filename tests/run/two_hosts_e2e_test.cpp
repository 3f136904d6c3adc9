// One job over two hosts: two network namespaces joined by a pair of virtual cards, each with a
// name of its own. Skips where this user may not make such.
#include <fcntl.h>
#include <sched.h>

#include "tests/run/ranks_fixture.h"

namespace sterna::tests {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class TwoHosts : public RankTraining {
 protected:
  void SetUp() override {
    RankTraining::SetUp();
    if (IsSkipped())
      return;
    const std::string id = std::to_string(getpid());
    for (int host = 0; host < 2; ++host)
      names_[host] = "sterna-" + id + (host == 0 ? "a" : "b");
    bool made = true;
    for (const std::string& name : names_)
      made = made && run("ip netns add " + name);
    made = made && run("ip link add card netns " + names_[0] + " type veth peer name card netns " +
                       names_[1]);
    for (int host = 0; host < 2 && made; ++host) {
      const std::string inside = "ip -n " + names_[host] + " ";
      made = run(inside + "addr add 10.77.0." + std::to_string(host + 1) + "/24 dev card") &&
             run(inside + "link set card up") && run(inside + "link set lo up");
    }
    if (!made)
      GTEST_SKIP()
          << "no two network namespaces joined by a veth pair: that needs root and iproute2";
  }

  void TearDown() override {
    for (const std::string& name : names_)
      if (!name.empty())
        run("ip netns del " + name);
  }

  static bool run(const std::string& command) {
    return std::system((command + " 2>/dev/null").c_str()) == 0;
  }

  /// A rank on a host of its own.
  std::unique_ptr<Program> start(int rank, const std::vector<std::string>& more) const {
    const std::string name = names_[rank];
    return std::make_unique<Program>(
        arguments("far", more), folder_ / (std::to_string(rank) + ".txt"), [=] {
          const int space = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
          if (setns(space, CLONE_NEWNET) != 0 || unshare(CLONE_NEWUTS) != 0 ||
              sethostname(name.data(), name.size()) != 0)
            _exit(99);
          setenv("RANK", std::to_string(rank).c_str(), 1);
          setenv("WORLD_SIZE", "2", 1);
          setenv("LOCAL_RANK", "0", 1);
          setenv("LOCAL_WORLD_SIZE", "1", 1);
          setenv("MASTER_ADDR", "10.77.0.1", 1);
          setenv("MASTER_PORT", "29500", 1);
        });
  }

  std::string names_[2];
};

TEST_F(TwoHosts, TrainWhatTwoRanksOfOneHostDo) {
  const auto zero = start(0, {"train.steps=4"});
  const auto one = start(1, {"train.steps=4"});
  EXPECT_EQ(zero->wait(), 0) << zero->output();
  EXPECT_EQ(one->wait(), 0) << one->output();
  EXPECT_NE(rank_log("far", 1).find("rank 1 of 2 on " + names_[1]), std::string::npos);
  ASSERT_EQ(train_ranks(2, "near", {"train.steps=4"}), 0) << output_;
  EXPECT_EQ(hashes("far", "step-4"), hashes("near", "step-4"));
}

TEST_F(TwoHosts, WithTheLinkCutEndOnBothSidesAndSayWhoIsMissing) {
  const std::vector<std::string> more{
      "train.steps=1000000", "train.schedule=constant", "dist.timeout=8"};
  const auto zero = start(0, more);
  const auto one = start(1, more);
  ASSERT_TRUE(zero->says("step 10/")) << zero->output() << one->output();
  const auto cut = Clock::now();
  ASSERT_TRUE(run("ip -n " + names_[0] + " link set card down"));
  EXPECT_EQ(zero->wait(), 70) << zero->output();
  EXPECT_EQ(one->wait(), 70) << one->output();
  EXPECT_LT(Clock::now() - cut, 60s);
  EXPECT_NE(zero->output().find("rank 1 on " + names_[1] + " (process "), std::string::npos)
      << zero->output();
  EXPECT_NE(zero->output().find("is lost: no sign of life"), std::string::npos) << zero->output();
  EXPECT_NE(zero->output().find("collective "), std::string::npos) << zero->output();
  EXPECT_NE(one->output().find("rank 1 on " + names_[1] + " has lost the store"), std::string::npos)
      << one->output();
}

}  // namespace
}  // namespace sterna::tests
