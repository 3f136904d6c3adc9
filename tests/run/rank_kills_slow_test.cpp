// kill -9 of random ranks at random instants of a run of four, $STERNA_KILLS times: the launcher
// begins anew each time, and the run ends with the weights of one that nobody touched.
#include <iostream>
#include <random>

#include "tests/run/ranks_fixture.h"

namespace sterna::tests {
namespace {

class RankKills : public RankTraining {};

TEST_F(RankKills, TwentyInTwoHundredStepsOfFourRanksEndInTheSameWeights) {
  const char* text = std::getenv("STERNA_KILLS");
  const int wanted = text == nullptr ? 20 : std::atoi(text);
  const std::vector<std::string> more{
      "train.steps=200", "train.checkpoint_every=3", "train.ema=0.9", "dist.timeout=20"};
  ASSERT_EQ(train_ranks(4, "straight", more), 0) << output_;
  std::vector<std::string> words = of_ranks(4, "killed", more);
  words.insert(words.end(), {"--max-restarts", std::to_string(wanted)});
  Program program(words, folder_ / "killed.txt");
  std::mt19937 draw(std::random_device{}());
  int kills = 0;
  while (kills < wanted) {
    const int64_t steps = 1 + static_cast<int64_t>(draw() % 12);
    const auto goal = static_cast<int64_t>(losses_or_none("killed").size()) + steps;
    while (std::ssize(losses_or_none("killed")) < std::min<int64_t>(goal, 195)) {
      ASSERT_TRUE(program.lives()) << program.output();
      std::this_thread::sleep_for(std::chrono::milliseconds(1 + draw() % 20));
    }
    const std::string mark = "restart " + std::to_string(kills + 1) + " of";
    ASSERT_TRUE(program.lives()) << program.output();
    const auto found = processes(5);
    const auto victim = found.find(static_cast<int64_t>(draw() % 4));
    if (victim == found.end())
      continue;
    kill(victim->second, SIGKILL);
    ++kills;
    ASSERT_TRUE(program.says(mark)) << program.output();
  }
  EXPECT_EQ(program.wait(), 0) << program.output();
  EXPECT_EQ(hashes("killed", "step-200"), hashes("straight", "step-200"));
  EXPECT_EQ(losses("killed"), losses("straight"));
  EXPECT_TRUE(living().empty());
  std::cout << kills << " kills, the run began anew " << count(program.output(), "sterna: restart ")
            << " times, " << count(program.output(), " is lost: ") << " messages of lost ranks\n";
}

}  // namespace
}  // namespace sterna::tests
