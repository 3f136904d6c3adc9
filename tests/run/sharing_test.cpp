// The same step however the ranks share it: gradients, losses, bits; what is held and what travels.
#include "trainer/run/sharing.h"

#include <gtest/gtest.h>

#include "tests/run/spread_fixture.h"

namespace sterna::run {
namespace {

using Values = std::map<std::string, Tensor>;

/// Of a run on all ranks, put together again.
struct Whole {
  Values gradients;  ///< of the first step, behind the quantizers
  std::vector<double> losses;
  std::vector<double> norms;
  Values masters;  ///< at the end
  Values learned;  ///< what quantizers learn, at the end
};

void put_rows(Values& whole, const std::string& name, const Tensor& own, const Slot& slot) {
  if (slot.absent() || own.numel() == 0)
    return;
  if (slot.rows.whole()) {
    whole[name] = own.clone();
    return;
  }
  Tensor& all = whole[name];
  if (!all.defined()) {
    std::vector<int64_t> shape = own.sizes().vec();
    shape[0] = slot.rows.total;
    all = at::full(shape, std::nan(""));
  }
  all.narrow(0, slot.rows.begin, slot.rows.count()).copy_(own);
}

Whole run_on(const std::filesystem::path& folder,
             const Spread& spread,
             int64_t steps,
             const QuantizerOf& quantizer_of = ternary_in_blocks) {
  Meeting meeting(spread.ranks);
  std::mutex mutex;
  Whole whole;
  on_ranks(meeting, [&](MeetingWorld& world) {
    SpreadRank rank(folder, world, spread, quantizer_of);
    std::vector<double> losses, norms;
    for (int64_t step = 0; step < steps; ++step) {
      const StepReport report = rank.run(step);
      ASSERT_TRUE(report.outcome.applied) << report.outcome.bad_tensor;
      losses.push_back(report.loss);
      norms.push_back(report.outcome.grad_norm);
      const std::scoped_lock lock(mutex);
      if (step == 0)
        for (const Slot& slot : rank.student->slots())
          put_rows(whole.gradients, slot.name, gradient_of(slot), slot);
    }
    const std::scoped_lock lock(mutex);
    if (!whole.losses.empty()) {
      EXPECT_EQ(whole.losses, losses) << "ranks report the same";
    }
    whole.losses = losses;
    whole.norms = norms;
    for (const Slot& slot : rank.student->slots()) {
      put_rows(whole.masters, slot.name, slot.master, slot);
      if (slot.quantizer)
        for (const auto& [name, tensor] : slot.quantizer->parameters())
          put_rows(whole.learned, slot.name + "." + name, tensor, slot);
    }
  });
  return whole;
}

double apart(const Tensor& a, const Tensor& b) {
  const double most = b.abs().max().item<double>();
  return (a - b).abs().max().item<double>() / std::max(most, 1e-30);
}

std::vector<Spread> spreads() {
  std::vector<Spread> all;
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"})
    for (const int64_t ranks : {1, 2, 4})
      for (const int64_t accumulate : {1, 2})
        for (const bool teacher : {false, true})
          all.push_back({strategy, ranks, accumulate, teacher});
  return all;
}

std::string name_of(const testing::TestParamInfo<Spread>& info) {
  const Spread& s = info.param;
  return s.strategy + "_ranks" + std::to_string(s.ranks) + "_micro" + std::to_string(s.accumulate) +
         (s.teacher ? "_teacher" : "");
}

class StepSpread : public testing::TestWithParam<Spread> {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<tests::TempFolder>();
    tests::write_tiny_model(folder_->path(), small_shape());
    begun_ = std::make_unique<Whole>(run_on(folder_->path(), {}, 1));
    alone_ = std::make_unique<Whole>(run_on(folder_->path(), {}, kSteps));
  }
  static void TearDownTestSuite() {
    folder_.reset();
    begun_.reset();
    alone_.reset();
  }
  static constexpr int64_t kSteps = 20;
  static std::unique_ptr<tests::TempFolder> folder_;
  static std::unique_ptr<Whole> begun_, alone_;  // one rank's: a step, all of them
};

std::unique_ptr<tests::TempFolder> StepSpread::folder_;
std::unique_ptr<Whole> StepSpread::begun_, StepSpread::alone_;

TEST_P(StepSpread, HasTheGradientsAndLossesOfOneRankAndTheSameBitsTwice) {
  const Whole found = run_on(folder_->path(), GetParam(), kSteps);
  for (const auto& [name, wanted] : alone_->gradients)
    EXPECT_LT(apart(found.gradients.at(name), wanted), 1e-6) << name;
  EXPECT_NEAR(found.norms[0], alone_->norms[0], 1e-6 * alone_->norms[0]);
  for (int64_t step = 0; step < kSteps; ++step)
    EXPECT_NEAR(found.losses[step], alone_->losses[step], 1e-3 * alone_->losses[step]) << step;
  for (const auto& [name, early] : begun_->masters)
    EXPECT_GT(apart(found.masters.at(name), early), 1e-3) << name << " is trained";
  const Whole again = run_on(folder_->path(), GetParam(), kSteps);
  EXPECT_EQ(again.losses, found.losses);
  for (const auto& [name, wanted] : found.masters)
    EXPECT_TRUE(at::equal(again.masters.at(name), wanted)) << name;
}

INSTANTIATE_TEST_SUITE_P(Matrix, StepSpread, testing::ValuesIn(spreads()), name_of);

class Quantized : public testing::TestWithParam<std::pair<const char*, QuantizerOf>> {};

TEST_P(Quantized, LearnsUnderShardingWhatItLearnsOnOneRank) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape(/*tied=*/true));
  const Whole alone = run_on(folder.path(), {}, 3, GetParam().second);
  ASSERT_FALSE(alone.learned.empty());
  for (const char* strategy : {"zero1", "zero3"}) {
    const Whole found = run_on(folder.path(), {strategy, 4, 1}, 3, GetParam().second);
    EXPECT_EQ(found.learned.size(), alone.learned.size());
    for (const auto& [name, wanted] : alone.gradients)
      EXPECT_LT(apart(found.gradients.at(name), wanted), 1e-5) << name << " " << strategy;
    for (const auto& [name, wanted] : alone.learned)
      EXPECT_LT(apart(found.learned.at(name), wanted), 1e-3) << name << " " << strategy;
    for (const auto& [name, wanted] : alone.masters)
      EXPECT_LT(apart(found.masters.at(name), wanted), 1e-2) << name << " " << strategy;
    for (size_t step = 0; step < 3; ++step)
      EXPECT_NEAR(found.losses[step], alone.losses[step], 1e-4 * alone.losses[step]);
  }
}

INSTANTIATE_TEST_SUITE_P(ByRowAndWhole,
                         Quantized,
                         testing::Values(std::pair("affine_learned",
                                                   QuantizerOf(learned_in_blocks)),
                                         std::pair("lsq", QuantizerOf(lsq_in_blocks))),
                         [](const auto& each) { return std::string(each.param.first); });

TEST(Cut, GivesEveryRowToOneRankAndAWholeMatrixToTheLeastLoaded) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  Meeting meeting(3);
  std::mutex mutex;
  std::map<std::string, std::vector<Rows>> owned;
  std::vector<int64_t> weights(3);
  on_ranks(meeting, [&](MeetingWorld& world) {
    const SpreadRank rank(folder.path(), world, {"zero1", 3, 1}, lsq_in_blocks);
    const std::scoped_lock lock(mutex);
    for (const Slot& slot : rank.student->slots()) {
      EXPECT_EQ(slot.master.size(0), slot.rows.count()) << slot.name;
      owned[slot.name].push_back(slot.rows);
      weights[world.rank()] += slot.master.numel();
      EXPECT_TRUE(!slot.quantizer || slot.absent() || slot.rows.whole()) << slot.name;
    }
  });
  for (const auto& [name, rows] : owned) {
    int64_t count = 0;
    for (const Rows& each : rows)
      count += each.count();
    EXPECT_EQ(count, rows[0].total) << name;
  }
  const auto [least, most] = std::minmax_element(weights.begin(), weights.end());
  EXPECT_LT(static_cast<double>(*most), 1.25 * static_cast<double>(*least));
}

TEST(Sharing, EvaluatesWhatEveryRankTogetherHolds) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  const auto world = dist::make_single();
  SpreadRank alone(folder.path(), *world, {});
  alone.run(0);
  alone.student->materialize();
  for (const char* strategy : {"zero1", "zero2", "zero3"}) {
    Meeting meeting(2);
    on_ranks(meeting, [&](MeetingWorld& two) {
      SpreadRank rank(folder.path(), two, {strategy, 2, 1, true});
      rank.run(0);
      const WholeTeacher teacher(rank.sharing.get());
      rank.student->materialize();
      EXPECT_NEAR(rank.student->bits_per_weight(), alone.student->bits_per_weight(), 1e-9);
      for (Slot& slot : rank.student->slots())
        EXPECT_LT(apart(*slot.value, *alone.student->find(slot.name)->value), 2e-2) << slot.name;
      const Tensor tokens = at::arange(16, at::kLong).reshape({2, 8});
      const Tensor shown = hidden_of(rank.student->decoder(), Inputs(tokens));
      EXPECT_LT(apart(shown, hidden_of(alone.student->decoder(), Inputs(tokens))), 2e-2);
      EXPECT_TRUE(at::equal(hidden_of(rank.teacher, Inputs(tokens)),
                            hidden_of(alone.teacher, Inputs(tokens))));
      rank.student->materialize_full_precision();
      for (Slot& slot : rank.student->slots())
        EXPECT_TRUE(
            at::equal(slot.value->narrow(0, slot.rows.begin, slot.rows.count()), slot.master))
            << slot.name;
      rank.run(1);  // and goes on
    });
  }
}

TEST(Buckets, SetOutInTheOrderOfTheWayBackAndOnlyInTheLastMicroBatch) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  Meeting meeting(2);
  on_ranks(meeting, [&](MeetingWorld& world) {
    Spread spread{"ddp", 2, 2};
    SpreadRank rank(folder.path(), world, spread);
    rank.run(0);
    std::vector<int64_t> sizes;
    for (const auto& event : world.events)
      sizes.push_back(event.elements);
    // Counts, then nothing until the last way back; behind the buckets losses and the verdict.
    ASSERT_GT(sizes.size(), 7u);
    EXPECT_EQ(sizes.front(), 3);
    EXPECT_EQ(sizes[sizes.size() - 2], 3);
    EXPECT_EQ(sizes.back(), 1);
    EXPECT_EQ(sizes[1], 257 * 64) << "the head's is complete first";
    EXPECT_EQ(sizes[sizes.size() - 3], 257 * 64) << "the embedding's last";
    int64_t sum = 0;
    for (size_t i = 1; i + 2 < sizes.size(); ++i)
      sum += sizes[i];
    int64_t weights = 0;
    for (const Slot& slot : rank.student->slots())
      weights += slot.master.numel();
    EXPECT_EQ(sum, weights);
  });
}

TEST(Buckets, SumACopyInBf16WhereTheRecipeSaysSo) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  const Whole alone = run_on(folder.path(), {}, 1);
  for (const char* strategy : {"ddp", "zero2"}) {
    const Whole found = run_on(folder.path(), {strategy, 2, 1, false, "bf16"}, 1);
    double most = 0;
    for (const auto& [name, wanted] : alone.gradients)
      most = std::max(most, apart(found.gradients.at(name), wanted));
    EXPECT_LT(most, 1e-2) << strategy;
    EXPECT_GT(most, 1e-4) << strategy;
  }
}

}  // namespace
}  // namespace sterna::run
