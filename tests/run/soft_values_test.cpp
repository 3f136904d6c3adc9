// Training on values that are not yet hard: what a step computes with, what everybody else sees,
// and what is carried on from step to step.
#include <gtest/gtest.h>

#include "tests/run/student_fixture.h"
#include "tests/run/worlds.h"
#include "trainer/run/signals.h"
#include "trainer/run/step.h"

namespace sterna::run {
namespace {

constexpr quant::Progress kMidway{5, 10};
const std::string kMatrix = "model.layers.1.mlp.up_proj.weight";

std::unique_ptr<quant::Quantizer> clustered(const model::Parameter& parameter) {
  const bool wanted = parameter.matrix && parameter.layer >= 0;
  return wanted ? quant::quantizers().make_default("dkm") : nullptr;
}

Tensor centroids(Slot& slot) {
  return slot.quantizer->buffers().at(0).tensor;
}

Tensor hard_value(const Slot& slot) {
  return quant::decode(slot.quantizer->encode(slot.master));
}

class SoftValues : public testing::Test {
 protected:
  std::unique_ptr<Student> student(const Freezing& freezing = {}) {
    return make_student(folder_.path(), /*tied=*/true, freezing, clustered);
  }
  const tests::TempFolder folder_;
};

TEST_F(SoftValues, AreWhatAStepComputesWithAndNobodyElse) {
  const auto model = student();
  Slot& slot = *model->find(kMatrix);
  EXPECT_TRUE(at::equal(*slot.value, hard_value(slot)));
  materialize_for_step(model->all(), kMidway);
  EXPECT_TRUE(
      at::equal(*slot.value, quant::soft(slot.quantizer.get())->soft_value(slot.master, kMidway)));
  EXPECT_FALSE(at::equal(*slot.value, hard_value(slot)));
  model->materialize();
  EXPECT_TRUE(at::equal(*slot.value, hard_value(slot)));
  materialize_for_step(model->all(), {10, 10});
  EXPECT_TRUE(at::equal(*slot.value, hard_value(slot))) << "training is over";
}

TEST_F(SoftValues, PassTheirGradientBackByTheirOwnRule) {
  const auto model = student();
  Slot& slot = *model->find(kMatrix);
  const auto gradient = [&] {
    slot.grad->copy_(slot.master.cos());
    for (const Trained& t : gradients(model->all(), kMidway))
      if (t.name == kMatrix)
        return t.grad.clone();
    return Tensor();
  };
  EXPECT_TRUE(at::equal(gradient(), slot.master.cos())) << "hard: straight through";
  materialize_for_step(model->all(), kMidway);
  const Tensor expected =
      quant::soft(slot.quantizer.get())->soft_backward(slot.master, slot.master.cos(), kMidway).w;
  EXPECT_TRUE(at::equal(gradient(), expected));
  EXPECT_FALSE(at::equal(expected, slot.master.cos()));
}

TEST_F(SoftValues, AFrozenMatrixHasNone) {
  const auto model = student({{kMatrix}});
  Slot& slot = *model->find(kMatrix);
  const Tensor before = centroids(slot).clone();
  materialize_for_step(model->all(), kMidway);
  advance(model->all(), kMidway);
  EXPECT_TRUE(at::equal(*slot.value, hard_value(slot)));
  EXPECT_TRUE(at::equal(centroids(slot), before));
  EXPECT_TRUE(model->find("model.layers.0.mlp.up_proj.weight")->soft);
}

distill::Objective ground_truth() {
  auto recipe = recipes::Recipe::parse("[kd]\nloss = \"gt\"\n", "test");
  return distill::Objective(recipe.section("kd"));
}

/// One step, of which another rank may say that it found NaN or was asked to stop.
class OneStep : public SoftValues {
 protected:
  StepReport run() {
    TrainConfig config;
    config.steps = 10;
    config.batch = 2;
    const distill::Objective objective = ground_truth();
    const Repeated samples;
    Optimizer optimizer(config.adam(), config.clip);
    Step step({*model_, nullptr, objective, samples, optimizer, world_}, config);
    return step.run(0);
  }

  std::unique_ptr<Student> model_ = student();
  Slot& slot_ = *model_->find(kMatrix);
  std::vector<std::string> events_;
  RecordingWorld world_{events_};
};

TEST_F(OneStep, CarriesTheCentroidsOnOnceByTheMasterItComputedWith) {
  const auto other = student();
  Slot& expected = *other->find(kMatrix);
  quant::soft(expected.quantizer.get())->advance(expected.master, {0, 10});
  EXPECT_TRUE(run().outcome.applied);
  EXPECT_FALSE(at::equal(slot_.master, expected.master));
  EXPECT_TRUE(at::equal(centroids(slot_), centroids(expected)));
}

TEST_F(OneStep, ThatIsSkippedCarriesThemOnToo) {
  world_.others = [](int64_t call, const std::vector<Tensor>& tensors) {
    if (call == 3)
      tensors[0].add_(1);
  };
  const auto other = student();
  Slot& expected = *other->find(kMatrix);
  quant::soft(expected.quantizer.get())->advance(expected.master, {0, 10});
  EXPECT_FALSE(run().outcome.applied);
  EXPECT_TRUE(at::equal(slot_.master, expected.master));
  EXPECT_TRUE(at::equal(centroids(slot_), centroids(expected)));
}

TEST_F(OneStep, ThatIsDroppedLeavesThemWhereTheyWere) {
  world_.others = [](int64_t call, const std::vector<Tensor>& tensors) {
    if (call == 2)
      tensors[0].narrow(0, tensors[0].numel() - 1, 1).add_(1);
  };
  const Tensor before = centroids(slot_).clone();
  EXPECT_THROW(run(), Interrupted);
  EXPECT_TRUE(at::equal(centroids(slot_), before));
}

}  // namespace
}  // namespace sterna::run
