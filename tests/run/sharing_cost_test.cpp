// What sharing costs: bytes held against the formulas of ZeRO (Rajbhandari et al.,
// arXiv:1910.02054) with gradients in fp32, bytes handed to collectives, and how much of a slow
// wire a step hides.
#include <gtest/gtest.h>

#include "tests/run/spread_fixture.h"

namespace sterna::run {
namespace {

/// Many blocks, so that one of them is little beside all.
tests::TinyModel deep_shape() {
  tests::TinyModel shape = small_shape();
  shape.layers = 24;
  return shape;
}

double weights_of(Student& student) {
  int64_t sum = 0;
  for (const Slot& slot : student.slots())
    sum += slot.value->numel();
  return static_cast<double>(sum);
}

double of_block(Student& student) {
  int64_t sum = 0;
  for (const Slot* slot : student.of_layer(0))
    sum += slot->value->numel();
  return static_cast<double>(sum);
}

/// Bytes that a rank holds beside activations.
double held(SpreadRank& rank) {
  auto sum = static_cast<double>(rank.sharing->gradients().bytes());
  for (const Slot& slot : rank.student->slots())
    sum += static_cast<double>(slot.master.storage().nbytes());
  for (const auto& [name, moments] : rank.optimizer.moments())
    sum +=
        static_cast<double>(moments.first.storage().nbytes() + moments.second.storage().nbytes());
  if (WeightShards* weights = rank.sharing->weights())
    return sum + static_cast<double>(weights->bytes());
  for (const Slot& slot : rank.student->slots())
    sum += static_cast<double>(slot.value->storage().nbytes());
  return sum;
}

class Costs : public testing::Test {
 protected:
  static constexpr int64_t kRanks = 4;

  static void SetUpTestSuite() {
    folder_ = std::make_unique<tests::TempFolder>();
    tests::write_tiny_model(folder_->path(), deep_shape());
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::unique_ptr<tests::TempFolder> folder_;
};

std::unique_ptr<tests::TempFolder> Costs::folder_;

TEST_F(Costs, ARankHoldsWhatTheFormulasSay) {
  // Bytes a weight: compute weights 4, gradients 4, master and two moments 12.
  const std::map<std::string, std::function<double(double, double)>> formulas = {
      {"ddp", [](double all, double) { return 20 * all; }},
      {"zero1", [](double all, double) { return 8 * all + 12 * all / kRanks; }},
      {"zero2", [](double all, double) { return 4 * all + 16 * all / kRanks; }},
      {"zero3", [](double all, double block) { return 20 * all / kRanks + 2 * 4 * block; }}};
  for (const auto& [strategy, formula] : formulas) {
    Meeting meeting(kRanks);
    on_ranks(meeting, [&, strategy = strategy, formula = formula](MeetingWorld& world) {
      SpreadRank rank(folder_->path(), world, {strategy, kRanks, 2});
      rank.run(0);  // moments come into being
      double most = 0;
      world.watch = [&] { most = std::max(most, held(rank)); };
      rank.run(1);
      world.watch = {};
      const double expected = formula(weights_of(*rank.student), of_block(*rank.student));
      EXPECT_NEAR(most, expected, 0.1 * expected) << strategy << " rank " << world.rank();
    });
  }
}

TEST_F(Costs, ASharedTeacherIsHeldAsItsShareAndTwoBlocks) {
  Meeting meeting(kRanks);
  on_ranks(meeting, [&](MeetingWorld& world) {
    SpreadRank rank(folder_->path(), world, {"ddp", kRanks, 1, true});
    double most = 0;
    world.watch = [&] {
      most = std::max(most, static_cast<double>(rank.sharing->teacher()->bytes()));
    };
    rank.run(0);
    world.watch = {};
    const double expected =
        4 * weights_of(*rank.student) / kRanks + 2 * 4 * of_block(*rank.student);
    EXPECT_NEAR(most, expected, 0.1 * expected);
  });
}

struct Traffic {
  double reduced = 0;
  double scattered = 0;
  double gathered = 0;
};

Traffic traffic_of(const std::filesystem::path& folder, const Spread& spread, double& weights) {
  Meeting meeting(spread.ranks);
  Traffic traffic;
  on_ranks(meeting, [&](MeetingWorld& world) {
    SpreadRank rank(folder, world, spread);
    rank.run(0);
    if (world.rank() != 0)
      return;
    weights = weights_of(*rank.student);
    for (const MeetingWorld::Event& event : world.events) {
      if (event.elements <= 3)
        continue;  // counts, losses, the verdict
      const auto bytes = static_cast<double>(event.bytes);
      (event.kind == "all_reduce"       ? traffic.reduced
       : event.kind == "reduce_scatter" ? traffic.scattered
                                        : traffic.gathered) += bytes;
    }
  });
  return traffic;
}

TEST_F(Costs, CollectivesCarryWhatTheFormulasSay) {
  // Of what is handed over, a ring's rank sends (N-1)/N, and twice that for a sum that all get: 2
  // (N-1)/N x weights x 4 bytes under ddp, zero1 and zero2; half as much again under zero3.
  const double head = 257 * 64;
  double all = 0;
  const Traffic ddp = traffic_of(folder_->path(), {"ddp", 2, 1}, all);
  EXPECT_EQ(ddp.reduced, 4 * all);
  EXPECT_EQ(ddp.scattered + ddp.gathered, 0);
  for (const char* strategy : {"zero1", "zero2"}) {
    const Traffic zero = traffic_of(folder_->path(), {strategy, 2, 1}, all);
    EXPECT_NEAR(zero.scattered, 4 * all, 0.01 * 4 * all) << strategy;
    EXPECT_NEAR(zero.gathered, 4 * all, 0.01 * 4 * all) << strategy;
    EXPECT_EQ(zero.reduced, 0) << strategy;
  }
  const Traffic three = traffic_of(folder_->path(), {"zero3", 2, 1}, all);
  EXPECT_NEAR(three.scattered, 4 * all, 0.01 * 4 * all);
  EXPECT_NEAR(three.gathered, 4 * (2 * all - head), 0.01 * 8 * all);
  const Traffic often = traffic_of(folder_->path(), {"zero1", 2, 4}, all);
  EXPECT_NEAR(often.scattered, 4 * all, 0.01 * 4 * all) << "once a step";
  const Traffic half = traffic_of(folder_->path(), {"ddp", 2, 1, false, "bf16"}, all);
  EXPECT_EQ(half.reduced, 2 * all);
}

TEST_F(Costs, OfAWireThatTakesAThirdOfTheComputingAFifthAtMostShows) {
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"}) {
    Meeting meeting(2);
    on_ranks(meeting, [&](MeetingWorld& world) {
      Spread spread{strategy, 2, 1};
      spread.tokens = 64;
      spread.bucket_mib = 0.16;  // about a block
      SpreadRank rank(folder_->path(), world, spread);
      rank.run(0);
      const auto large = [&] {
        return static_cast<double>(
            std::count_if(world.events.begin(), world.events.end(), [](const auto& event) {
              return event.bytes > MeetingWorld::kSmall;
            }));
      };
      int64_t step = 1;
      std::vector<double> shown;
      for (int round = 0; round < 3; ++round) {
        world.latency = 0;
        world.events.clear();
        const double begin = MeetingWorld::computed();
        rank.run(step++);
        world.latency = (MeetingWorld::computed() - begin) / 3 / large();
        world.events.clear();
        world.exposed = 0;
        rank.run(step++);
        EXPECT_GT(world.exposed, 0) << "the first weights and the last gradients always show";
        shown.push_back(world.exposed / (world.latency * large()));
      }
      std::sort(shown.begin(), shown.end());
      EXPECT_LT(shown[1], 0.2) << strategy << ", the median of " << shown[0] << " to " << shown[2];
      if (world.rank() == 0)
        std::printf(
            "%s: %.1f %% of %.0f collectives' time show\n", strategy, 100 * shown[1], large());
    });
  }
}

}  // namespace
}  // namespace sterna::run
