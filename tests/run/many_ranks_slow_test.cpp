// The communication of a large job, carried out: 64 processes of a tiny model on one machine.
#include "tests/run/wire_fixture.h"

namespace sterna::tests {
namespace {

using namespace std::chrono_literals;

class ManyRanks : public Wire {
 protected:
  static constexpr int64_t kRanks = 64;

  std::vector<std::string> of(const std::string& strategy, int64_t steps) const {
    std::vector<std::string> all = keys(kRanks, strategy);
    all.emplace_back("dist.timeout=240");
    all.push_back("train.steps=" + std::to_string(steps));
    return all;
  }

  /// Bytes that a whole run of so many steps sends; its losses are those of one rank.
  double run(const std::string& strategy, int64_t steps, const std::vector<double>& wanted) {
    const auto began = std::chrono::steady_clock::now();
    const std::string name = strategy + std::to_string(steps);
    const double sent = sent_by(kRanks, name, of(strategy, steps));
    EXPECT_TRUE(living().empty()) << name;
    const std::vector<double> found = losses_or_none(name);
    EXPECT_EQ(std::ssize(found), steps) << output_;
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], wanted[i], 1e-4 * wanted[i]) << name << ", step " << i + 1;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
    std::printf("%s: 64 processes, %.0f s\n", name.c_str(), passed.count());
    return sent;
  }
};

TEST_F(ManyRanks, ComeToTheirEndUnderEveryStrategyAndSendWhatTheFormulasSay) {
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(train("one", of("ddp", kSteps)), 0) << output_;
  const std::vector<double> one = losses("one");
  ASSERT_EQ(one.size(), 4u);
  // What is sent before and behind the steps is the same whatever the strategy.
  const double short_run = run("ddp", 1, one);
  const double long_run = run("ddp", kSteps, one);
  const double step = (long_run - short_run) / (kSteps - 1);
  const double around = short_run - step;
  expect_bytes(step, kRanks, "ddp");
  for (const std::string strategy : {"zero1", "zero2", "zero3"})
    expect_bytes((run(strategy, kSteps, one) - around) / kSteps, kRanks, strategy);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10min);
}

}  // namespace
}  // namespace sterna::tests
