// What crosses the border between a device and host memory, and how often.
#include <gtest/gtest.h>

#include "tests/device/devices.h"
#include "tests/run/spread_fixture.h"
#include "trainer/run/places.h"

namespace sterna::run {
namespace {

using tests::far_figures;
using tests::FarFigures;

class DeviceBorder : public tests::OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (!GetParam().is_far())
      GTEST_SKIP() << "only the far device counts";
    tests::write_tiny_model(folder_.path(), small_shape());
  }

  /// What `action` brings down and up, in bytes.
  template <class Action>
  static FarFigures crossed(const Action& action) {
    const FarFigures before = far_figures();
    action();
    FarFigures now = far_figures();
    now.bytes_up -= before.bytes_up;
    now.bytes_down -= before.bytes_down;
    now.bytes_beside -= before.bytes_beside;
    return now;
  }

  /// The second step of a run whose masters are on the device: its crossings in units of what all
  /// quantized matrices take.
  void expect_crossings(SpreadRank& rank, double down, double up) {
    double quantized = 0;
    for (const Slot& slot : rank.student->slots())
      quantized += slot.quantizer ? 4.0 * static_cast<double>(slot.master.numel()) : 0;
    rank.run(0);
    const FarFigures step = crossed([&] { rank.run(1); });
    const double few = 0.05;  // batches, tables, sums
    EXPECT_NEAR(static_cast<double>(step.bytes_down) / quantized, down, few);
    EXPECT_NEAR(static_cast<double>(step.bytes_up) / quantized, up, few);
  }

  Spread all_there() const {
    Spread spread;
    spread.places = {device(), device()};
    return spread;
  }

  static QuantizerOf in_blocks(const std::string& name) {
    return [name](const model::Parameter& parameter) {
      const bool wanted = parameter.matrix && parameter.layer >= 0;
      return wanted ? quant::quantizers().make_default(name) : nullptr;
    };
  }

  const tests::TempFolder folder_;
  std::shared_ptr<dist::World> world_ = dist::make_single();
};

TEST_P(DeviceBorder, IsCrossedByAMasterThatWasWrittenToAlone) {
  const Tensor master = at::rand({8, 5}).to(device());
  HostCopy below;
  const int64_t bytes = 8 * 5 * 4;
  EXPECT_EQ(crossed([&] { below.of(master); }).bytes_down, bytes);
  EXPECT_EQ(crossed([&] { below.of(master); }).bytes_down, 0);
  master.narrow(0, 2, 3).mul_(2);
  EXPECT_EQ(crossed([&] { below.of(master); }).bytes_down, bytes);
  EXPECT_TRUE(at::equal(below.of(master), master.cpu()));
  const FarFigures written =
      crossed([&] { below.fill(master, [](Tensor& values) { values.fill_(3); }); });
  EXPECT_EQ(written.bytes_up, bytes);
  EXPECT_EQ(crossed([&] { EXPECT_EQ(below.of(master).sum().item<double>(), 120); }).bytes_down, 0);
  EXPECT_EQ(master.cpu().sum().item<double>(), 120);
}

/// Masters and gradients come down, values go up, and gradients that are the master's no longer.
TEST_P(DeviceBorder, IsCrossedOnceByEachQuantizedMatrixInAStep) {
  struct Scheme {
    const char* name;
    double up;
  };
  for (const auto& [name, up] :
       {Scheme{"twn", 1}, {"lsq", 2}, {"affine_learned", 2}, {"dkm", 2}, {"parq", 1}}) {
    SCOPED_TRACE(name);
    SpreadRank rank(folder_.path(), *world_, all_there(), in_blocks(name));
    expect_crossings(rank, 2, up);
  }
}

TEST_P(DeviceBorder, IsCrossedByGradientsAndByMastersThatFollowTheirScales) {
  SpreadRank rank(folder_.path(), *world_, all_there(), learned_in_blocks);
  rank.student->hold_codes();
  rank.sharing->follow_student();
  expect_crossings(rank, 1, 1);
}

TEST_P(DeviceBorder, IsNotCrossedForLossesOnRanges) {
  SpreadRank rank(folder_.path(), *world_, all_there());
  auto recipe = recipes::Recipe::parse(
      "[kd]\nrange = [{ match = \"*.q_proj\", loss = \"margin\" },"
      " { match = \"*.k_proj\", loss = \"soft_min_max\" }, { match = \"*\", loss = \"l_inf\" }]\n",
      "test");
  Ranges ranges(RangeRules::read(recipe.section("kd")), *rank.student);
  rank.step = std::make_unique<Step>(StepParts{*rank.student,
                                               &rank.teacher,
                                               rank.objective,
                                               *rank.samples,
                                               rank.optimizer,
                                               *world_,
                                               nullptr,
                                               &ranges,
                                               rank.sharing.get()},
                                     rank.config);
  expect_crossings(rank, 2, 1);
}

/// ZeRO-2 and 3 sum each micro-batch.
TEST_P(DeviceBorder, IsCrossedByOffloadedGradientsWhileTheWayBackGoesOn) {
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"}) {
    SCOPED_TRACE(strategy);
    Spread spread;
    spread.strategy = strategy;
    spread.accumulate = 2;
    spread.places = {device(), at::kCPU};
    SpreadRank rank(folder_.path(), *world_, spread);
    double gradients = 0;
    for (const Slot& slot : rank.student->slots())
      gradients += 4.0 * static_cast<double>(slot.master.numel());
    rank.run(0);
    const FarFigures step = crossed([&] { rank.run(1); });
    const bool each = spread.strategy == "zero2" || spread.strategy == "zero3";
    EXPECT_EQ(static_cast<double>(step.bytes_beside), (each ? 2 : 1) * gradients);
    EXPECT_LT(static_cast<double>(step.bytes_down - step.bytes_beside), 0.01 * gradients)
        << "sums of losses";
  }
}

STERNA_ON_DEVICES(DeviceBorder);

}  // namespace
}  // namespace sterna::run
