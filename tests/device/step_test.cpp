// One step of training on a device against the same on the CPU: what is computed there, what stays
// in host memory, and what that costs.
#include "trainer/run/step.h"

#include "tests/device/devices.h"
#include "tests/run/spread_fixture.h"
#include "trainer/model/activations.h"

namespace sterna::run {
namespace {

using tests::far_figures;

constexpr int64_t kSteps = 4;

/// What some steps gave.
struct Course {
  std::vector<double> losses;
  std::vector<double> norms;
  int64_t peak = 0;   ///< bytes of the device, above what was there before
  int64_t moved = 0;  ///< parameters
};

struct Recipe {
  std::string kd = "loss = \"tsld\"";
  std::string act = {};
  /// What a course may be off by: a code that the last bit of an activation turns is a step of a
  /// level, while without one only sums are taken in another order.
  double off = 1e-5;
  QuantizerOf quantizer_of = ternary_in_blocks;
};

void attach(model::Decoder& decoder, const std::string& act) {
  if (act.empty())
    return;
  auto recipe = recipes::Recipe::parse("[act]\n" + act + "\n", "test");
  model::attach_activations(decoder, quant::ActPlan::read(recipe.section("act")));
}

class DeviceStep : public tests::OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    tests::write_tiny_model(folder_.path(), small_shape());
  }

  Course train(const Spread& spread, const Recipe& recipe = {}) {
    const int64_t before = GetParam().bytes();
    GetParam().forget_peak();
    const auto world = dist::make_single();
    SpreadRank rank(folder_.path(), *world, spread, recipe.quantizer_of, recipe.kd);
    attach(rank.student->decoder(), recipe.act);
    rank.step = std::make_unique<Step>(StepParts{*rank.student,
                                                 &rank.teacher,
                                                 rank.objective,
                                                 *rank.samples,
                                                 rank.optimizer,
                                                 *world,
                                                 nullptr,
                                                 nullptr,
                                                 rank.sharing.get()},
                                       rank.config);
    Course course;
    for (int64_t step = 0; step < kSteps; ++step) {
      const StepReport report = rank.run(step);
      EXPECT_TRUE(report.outcome.applied);
      course.losses.push_back(report.loss);
      course.norms.push_back(report.outcome.grad_norm);
    }
    course.peak = GetParam().peak() - before;
    for (const Slot& slot : rank.student->slots())
      course.moved += slot.master.numel();
    return course;
  }

  /// All of it on the device, or masters and moments in host memory.
  Places there(bool offloads) const {
    return {device(), offloads ? at::Device(at::kCPU) : device()};
  }

  /// A GPU sums in another order.
  double tolerance(const Recipe& recipe) const { return GetParam().is_far() ? recipe.off : 1e-3; }

  void expect_same(Spread spread, const Recipe& recipe = {}) {
    const double off = tolerance(recipe);
    const Course here = train(spread, recipe);
    for (const bool offloads : {true, false}) {
      spread.places = there(offloads);
      const Course course = train(spread, recipe);
      for (int64_t step = 0; step < kSteps; ++step) {
        EXPECT_NEAR(course.losses[step], here.losses[step], off * here.losses[step])
            << spread.strategy << ", step " << step << (offloads ? ", offloaded" : "");
        EXPECT_NEAR(course.norms[step], here.norms[step], 10 * off * here.norms[step])
            << spread.strategy << ", step " << step << (offloads ? ", offloaded" : "");
      }
    }
  }

  /// To the last bit on the far device; a GPU divides by what it multiplies with.
  void expect_close(const Tensor& there, const Tensor& here) const {
    const Tensor found = there.cpu();
    EXPECT_EQ(found.scalar_type(), here.scalar_type());
    EXPECT_TRUE(GetParam().is_far() ? at::equal(found, here)
                                    : at::allclose(found, here, 1e-2, 1e-2));
  }

  const tests::TempFolder folder_;
};

TEST_P(DeviceStep, GivesTheLossesOfTheCpuUnderEveryStrategy) {
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"}) {
    Spread spread;
    spread.strategy = strategy;
    spread.accumulate = 2;
    expect_same(spread);
  }
}

TEST_P(DeviceStep, GivesTheLossesOfTheCpuWithGradientsThatTravelInBf16) {
  for (const char* strategy : {"ddp", "zero1", "zero2"}) {
    Spread spread;
    spread.strategy = strategy;
    spread.reduce_dtype = "bf16";
    expect_same(spread);
  }
}

TEST_P(DeviceStep, GivesTheLossesOfTheCpuForTermsThatLookAtLogitsDifferently) {
  expect_same({},
              {"loss = [{ name = \"kl\", temperature = 2.0 }, { name = \"reverse_kl\" }, "
               "{ name = \"jsd\" }, { name = \"gt\", weight = 0.5 }]"});
}

TEST_P(DeviceStep, GivesTheLossesOfTheCpuBesideATeacherLayerByLayer) {
  expect_same({},
              {"loss = \"kl\"\nhidden = [{ match = \"*\", weight = 0.1 }]\n"
               "intervention = { steps = 3 }"});
}

TEST_P(DeviceStep, GivesTheLossesOfTheCpuWithRoundedActivations) {
  for (const char* act :
       {"input = { name = \"per_token\", bits = 8 }",
        "input = { name = \"per_tensor\", symmetric = false, clip_val = 2.0 }",
        "input = { name = \"static_ema\" }\nkey = { name = \"per_token\", symmetric = false }"})
    expect_same({}, {"loss = \"tsld\"", act, 1e-3});
}

TEST_P(DeviceStep, RoundsActivationsToTheLevelsOfTheCpuAndMasksTheirGradients) {
  at::manual_seed(5);
  const Tensor x = at::randn({3, 7, 32}) * 2;
  const Tensor g = at::randn_like(x);
  for (const char* name : {"per_token", "per_tensor", "static_ema"})
    for (const char* more : {"bits = 8", "bits = 4, clip_val = 1.5", "bits = 5, symmetric = false"})
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        auto recipe = recipes::Recipe::parse(
            "act = { name = \"" + std::string(name) + "\", " + more + " }", "test");
        const auto here = quant::act_quantizers().build(recipe.root(), "act");
        const auto there = quant::act_quantizers().build(recipe.root(), "act");
        for (int64_t step = 0; step < 2; ++step) {
          SCOPED_TRACE(std::string(name) + ", " + more + ", step " + std::to_string(step));
          here->start_step();
          there->start_step();
          const Tensor in = (x * static_cast<double>(1 + step)).to(dtype);
          const Tensor far = in.to(device());
          const Tensor up = g.to(dtype);
          expect_close(there->forward(far), here->forward(in));
          expect_close(there->backward(far, up.to(device())), here->backward(in, up));
          if (here->learns()) {
            expect_close(there->seen(), here->seen());
            here->end_step(here->seen());
            there->end_step(here->seen());
          }
        }
      }
}

TEST_P(DeviceStep, GivesTheLossesOfTheCpuWithLearnedSteps) {
  expect_same({}, {"loss = \"kl\"", {}, 1e-5, learned_in_blocks});
  expect_same({}, {"loss = \"kl\"", {}, 1e-5, lsq_in_blocks});
}

TEST_P(DeviceStep, GivesTheLossesOfTheCpuWithRecomputedBlocks) {
  Spread spread;
  spread.recompute = true;
  expect_same(spread);
}

TEST_P(DeviceStep, ComputesWithTheVeryWeightsOfTheCpu) {
  const auto of = [&](const Places& places) {
    return student_of(folder_.path(), {}, ternary_in_blocks, places, at::kBFloat16);
  };
  const auto here = of({});
  for (const bool offloads : {true, false}) {
    const auto student = of(there(offloads));
    for (size_t i = 0; i < here->slots().size(); ++i) {
      const Slot& slot = student->slots()[i];
      EXPECT_EQ(slot.value->device(), device());
      EXPECT_EQ(slot.master.device(), offloads ? at::Device(at::kCPU) : device());
      EXPECT_TRUE(at::equal(slot.value->cpu(), *here->slots()[i].value)) << slot.name;
    }
  }
}

TEST_P(DeviceStep, HoldsNoMastersAndMomentsThereWhereTheyAreOffloaded) {
  Spread spread;
  spread.places = there(/*offloads=*/false);
  const Course all = train(spread);
  spread.places = there(/*offloads=*/true);
  const Course part = train(spread);
  EXPECT_GE(all.peak - part.peak, 3 * 4 * part.moved) << "three tensors of fp32";
  EXPECT_GE(part.peak, 2 * 4 * part.moved) << "compute weights and gradients";
}

TEST_P(DeviceStep, HoldsGradientsOfFewPartsThereWithZero2) {
  Spread spread;
  spread.places = there(/*offloads=*/true);
  const Course ddp = train(spread);
  spread.strategy = "zero2";
  const Course zero2 = train(spread);
  EXPECT_LT(zero2.peak, ddp.peak);
}

TEST_P(DeviceStep, AsksForFewValuesAndMovesGradientsDownAndWeightsUpOnce) {
  if (!GetParam().is_far())
    GTEST_SKIP() << "only the far device counts";
  const auto world = dist::make_single();
  Spread spread;
  spread.places = there(/*offloads=*/true);
  SpreadRank rank(folder_.path(), *world, spread);
  rank.run(0);
  const tests::FarFigures before = far_figures();
  rank.run(1);
  const tests::FarFigures after = far_figures();
  int64_t bytes = 0;
  for (const Slot& slot : rank.student->slots())
    bytes += 4 * slot.master.numel();
  EXPECT_EQ(after.waits - before.waits, 0) << "losses come down with their sums";
  const double few = 0.05;  // batches, tables, sums
  EXPECT_NEAR(static_cast<double>(after.bytes_down - before.bytes_down), bytes, few * bytes);
  EXPECT_NEAR(static_cast<double>(after.bytes_up - before.bytes_up), bytes, few * bytes);
}

STERNA_ON_DEVICES(DeviceStep);

}  // namespace
}  // namespace sterna::run
