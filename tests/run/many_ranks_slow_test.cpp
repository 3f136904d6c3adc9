// The communication of a large job, carried out: 64 processes of a tiny model on one machine.
#include "tests/run/wire_fixture.h"

namespace sterna::tests {
namespace {

class ManyRanks : public Wire {
 protected:
  static constexpr int64_t kRanks = 64;

  /// Matrices of both sides of a border are in one bucket where they fit: a block's four small
  /// ones, every other alone.
  ManyRanks() { buckets_ = 10; }

  std::vector<std::string> of(const std::string& strategy, int64_t steps, int64_t micro = 1) const {
    std::vector<std::string> all = keys(micro * kRanks, strategy);
    all.emplace_back("dist.timeout=240");
    all.emplace_back("dist.bucket_mib=0.2");
    all.push_back("train.steps=" + std::to_string(steps));
    return all;
  }

  std::vector<double> of_one(int64_t micro) {
    const std::string name = "one" + std::to_string(micro);
    EXPECT_EQ(train(name, of("ddp", kSteps, micro)), 0) << output_;
    const std::vector<double> all = losses_or_none(name);
    EXPECT_EQ(std::ssize(all), kSteps) << output_;
    return all;
  }

  /// Bytes that a whole run sends; its losses are those of one rank.
  double run(const std::string& name,
             const std::vector<std::string>& more,
             const std::vector<double>& wanted) {
    const double sent = sent_by(kRanks, name, more);
    EXPECT_TRUE(living().empty()) << name;
    const std::vector<double> found = losses_or_none(name);
    EXPECT_EQ(found.size(), wanted.size()) << output_;
    for (size_t i = 0; i < std::min(found.size(), wanted.size()); ++i)
      EXPECT_NEAR(found[i], wanted[i], 1e-4 * wanted[i]) << name << ", step " << i + 1;
    std::printf("%s: 64 processes, the longest run %.0f s\n", name.c_str(), seconds_);
    return sent;
  }
};

TEST_F(ManyRanks, ComeToTheirEndUnderEveryStrategyAndSendWhatTheFormulasSay) {
  const std::vector<double> one = of_one(1);
  ASSERT_EQ(std::ssize(one), kSteps);
  std::map<std::string, double> sent;
  for (const std::string strategy : {"ddp", "zero1", "zero2", "zero3"})
    sent[strategy] = run(strategy, of(strategy, kSteps), one);
  if (!network_.made())
    GTEST_SKIP() << "the losses are right, but no byte is counted: a network namespace needs root "
                    "and iproute2";
  // What is sent before and behind the steps is the same whatever the strategy.
  const double short_run = run("short", of("ddp", 1), {one[0]});
  const double around = short_run - (sent["ddp"] - short_run) / (kSteps - 1);
  for (const auto& [strategy, bytes] : sent)
    expect_bytes((bytes - around) / kSteps, kRanks, strategy);
}

TEST_F(ManyRanks, AddUpSeveralMicroBatchesOfTheirShare) {
  const std::vector<double> one = of_one(2);
  ASSERT_EQ(std::ssize(one), kSteps);
  run("zero2", of("zero2", kSteps, 2), one);
}

}  // namespace
}  // namespace sterna::tests
