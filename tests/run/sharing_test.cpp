// The same step however the ranks share it: gradients, losses, bits; what is held and what travels.
#include "trainer/run/sharing.h"

#include <gtest/gtest.h>

#include "tests/run/low_precision.h"

namespace sterna::run {
namespace {

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

INSTANTIATE_TEST_SUITE_P(Matrix, StepSpread, testing::ValuesIn(spreads()), spread_name);

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
      rank.student->materialize();
      EXPECT_NEAR(rank.student->bits_per_weight(), alone.student->bits_per_weight(), 1e-9);
      for (Slot& slot : rank.student->slots()) {
        if (rank.sharing->weights()->frees())
          continue;
        EXPECT_LT(apart(*slot.value, *alone.student->find(slot.name)->value), 2e-2) << slot.name;
      }
      const Tensor tokens = at::arange(16, at::kLong).reshape({2, 8});
      const Tensor shown = hidden_of(rank.student->decoder(), Inputs(tokens));
      EXPECT_LT(apart(shown, hidden_of(alone.student->decoder(), Inputs(tokens))), 2e-2);
      EXPECT_TRUE(at::equal(hidden_of(rank.teacher, Inputs(tokens)),
                            hidden_of(alone.teacher, Inputs(tokens))));
      rank.student->materialize_full_precision();
      for (Slot& slot : rank.student->slots())
        EXPECT_TRUE(at::equal(slot.own_value, slot.master)) << slot.name;
      rank.run(1);  // and goes on
    });
  }
}

TEST(Buckets, SetOutInTheOrderOfTheWayBackAndOnlyInTheLastMicroBatch) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), /*tied=*/false, {}, none);
  Meeting meeting(1);
  on_ranks(meeting, [&](MeetingWorld& world) {
    const auto buckets = make_buckets(*student, world, Spread().dist());
    const auto pass = [&] {
      std::vector<size_t> sent;
      for (int64_t part = parts_of(student->decoder()) - 1; part >= 0; --part) {
        buckets->open(part);
        buckets->close(part);
        sent.push_back(world.events.size());
      }
      return sent;
    };
    buckets->start();
    buckets->micro_batch(/*last=*/false);
    pass();
    EXPECT_TRUE(world.events.empty()) << "none travels while gradients still gather";
    buckets->micro_batch(/*last=*/true);
    const std::vector<size_t> sent = pass();  // head, final norm, two blocks, embedding
    ASSERT_EQ(sent.size(), 5u);
    EXPECT_EQ(sent[0], 1u) << "the head's";
    EXPECT_GT(sent[2], sent[1]) << "a block's with the block";
    EXPECT_GT(sent[3], sent[2]);
    EXPECT_GT(sent[4], sent[3]);
    EXPECT_EQ(world.events.front().elements, 257 * 64);
    EXPECT_EQ(world.events.back().elements, 257 * 64) << "the embedding's last";
    buckets->finish();
    EXPECT_EQ(world.events.size(), sent.back()) << "each bucket once";
    int64_t sum = 0;
    for (const MeetingWorld::Event& event : world.events)
      sum += event.elements;
    int64_t weights = 0;
    for (const Slot& slot : student->slots())
      weights += slot.master.numel();
    EXPECT_EQ(sum, weights);
  });
}

class LowPrecision : public testing::TestWithParam<Spread> {};

TEST_P(LowPrecision, HasOneRanksGradientsAsNearAsItsRoundingsAllow) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  Spread one;
  one.dtype = GetParam().dtype;
  const Whole alone = run_on(folder.path(), one, 5);
  const Whole found = run_on(folder.path(), GetParam(), 5);
  expect_near_in_bf16(found.gradients, alone.gradients, GetParam());
  for (size_t step = 0; step < alone.losses.size(); ++step)
    EXPECT_NEAR(found.losses[step], alone.losses[step], 2e-3 * alone.losses[step]) << step;
}

INSTANTIATE_TEST_SUITE_P(Bf16,
                         LowPrecision,
                         testing::ValuesIn(low_precision_spreads()),
                         low_precision_name);

}  // namespace
}  // namespace sterna::run
