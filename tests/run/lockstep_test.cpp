// Student and teacher side by side: hidden-state losses and teacher intervention through the layer
// boundary, against one autograd graph through the whole model.
#include "trainer/run/lockstep.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/run/student_fixture.h"
#include "trainer/run/tape.h"

namespace sterna::run {
namespace {

constexpr int64_t kBatch = 3, kLength = 9, kWidth = 64;

distill::Objective objective(const std::string& kd) {
  auto recipe = recipes::Recipe::parse("[kd]\n" + kd + "\n", "test");
  return distill::Objective(recipe.section("kd"));
}

Tensor random(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

/// A student and a teacher of the same shapes with other weights.
class SideBySide : public testing::Test {
 protected:
  SideBySide() : student_(make_student(folder_.path(), false, {}, none)) {
    zero_grad(student_->all());
    teacher_ = std::make_unique<model::Decoder>(
        model::load_decoder(model::inspect(folder_.path()), at::kFloat));
    uint64_t seed = 1;
    for (const model::Parameter& parameter : teacher_->parameters())
      parameter.value->add_(random(parameter.value->sizes(), ++seed) * 0.05);
  }

  static Tensor tokens() {
    return at::arange(kBatch * kLength, at::kLong).reshape({kBatch, kLength}).mul(7).remainder(257);
  }
  static Tensor from_behind() { return random({kBatch, kLength, kWidth}, 99); }

  /// Forward and backward by the tape. @return  sums of the terms
  Tensor by_tape(const distill::Objective& kd, int64_t step = 0, bool recompute = false) {
    zero_grad(student_->all());
    const distill::Counts totals = kd.counts(at::zeros({kBatch, kLength}, at::kLong));
    Lockstep beside(*teacher_, kd, totals, {/*seed=*/1, step, /*first_sample=*/0});
    Tape tape(*student_, recompute);
    hidden_ = tape.forward(tokens(), &beside);
    tape.backward(from_behind());
    teacher_hidden_ = beside.hidden();
    return beside.sums();
  }

  std::map<std::string, Tensor> gradients() {
    std::map<std::string, Tensor> all;
    for (const Slot& slot : student_->slots())
      all[slot.name] = slot.grad->clone();
    return all;
  }

  /// Hidden states as Hugging Face gives them, with the graph through all of them.
  static std::vector<Tensor> states(const model::Decoder& decoder) {
    const auto cache = kvcache::make_stateless(decoder.attention());
    std::vector<Tensor> all{decoder.embed(tokens(), at::arange(kLength))};
    for (int64_t i = 0; i < decoder.config().layers; ++i)
      all.push_back(decoder.layer(i, all.back(), at::arange(kLength), *cache));
    all.back() = decoder.final_norm(all.back());
    return all;
  }

  const tests::TempFolder folder_;
  std::unique_ptr<Student> student_;
  std::unique_ptr<model::Decoder> teacher_;
  Tensor hidden_;
  Tensor teacher_hidden_;
};

TEST_F(SideBySide, HiddenStateLossHasValueAndGradientsOfOneGraph) {
  const auto kd = objective(
      "hidden = [{ match = \"layers.*\", weight = 2.0 }, { match = \"*\", weight = 0.5 }]");
  const Tensor sums = by_tape(kd);
  const auto by_layers = gradients();
  const auto again = (by_tape(kd, 0, /*recompute=*/true), gradients());

  zero_grad(student_->all());
  const std::vector<Tensor> student = states(student_->decoder());
  std::vector<Tensor> teacher;
  {
    const at::NoGradGuard no_grad;
    teacher = states(*teacher_);
  }
  const std::vector<double> weights{0.5, 2.0, 0.5};
  Tensor loss = at::zeros({});
  for (size_t i = 0; i < student.size(); ++i)
    loss = loss + weights[i] * (student[i] - teacher[i]).square().mean();
  const double value = loss.item<double>();
  torch::autograd::backward({loss + (student.back() * from_behind()).sum()});
  EXPECT_NEAR(sums[-1].item<double>() / (kBatch * kLength), value, 1e-5 * value);
  EXPECT_TRUE(at::equal(teacher_hidden_, teacher.back()));
  for (const Slot& slot : student_->slots()) {
    const double scale = slot.grad->abs().max().item<double>() + 1e-12;
    EXPECT_LT((by_layers.at(slot.name) - *slot.grad).abs().max().item<double>() / scale, 1e-5)
        << slot.name;
    EXPECT_TRUE(at::equal(by_layers.at(slot.name), again.at(slot.name))) << slot.name;
  }
}

TEST_F(SideBySide, WithoutWeightNothingIsComparedAndTheGradientIsTheOldOne) {
  by_tape(objective("hidden = [{ match = \"*\", weight = 0.0 }]"));
  const auto with = gradients();
  zero_grad(student_->all());
  Tape tape(*student_, false);
  const Tensor alone = tape.forward(tokens());
  tape.backward(from_behind());
  EXPECT_TRUE(at::equal(hidden_, alone));
  for (const Slot& slot : student_->slots())
    EXPECT_TRUE(at::equal(with.at(slot.name), *slot.grad)) << slot.name;
}

TEST_F(SideBySide, ATeacherThatIsTheStudentChangesNothingByIntervening) {
  teacher_ = std::make_unique<model::Decoder>(
      model::load_decoder(model::inspect(folder_.path()), at::kFloat));
  by_tape(objective("intervention = { steps = 1 }"));
  Tape tape(*student_, false);
  EXPECT_TRUE(at::equal(hidden_, tape.forward(tokens())));
}

TEST_F(SideBySide, AnIntervenedModelDoesNotDependOnTheStudentsAttentionNorTrainIt) {
  const auto kd = objective("intervention = { steps = 1 }");
  by_tape(kd);
  const Tensor before = hidden_;
  int64_t untouched = 0;
  for (const Slot& slot : student_->slots()) {
    const bool attention = slot.name.find("self_attn") != std::string::npos ||
                           slot.name.find("input_layernorm") != std::string::npos;
    const bool moved = slot.grad->any().item<bool>();
    untouched += attention ? 1 : 0;
    EXPECT_EQ(moved, !attention && slot.name != "lm_head.weight") << slot.name;
  }
  EXPECT_EQ(untouched, 2 * 5);
  for (Slot& slot : student_->slots())
    if (slot.name.find("self_attn") != std::string::npos)
      slot.value->mul_(3).add_(1);
  by_tape(kd);
  EXPECT_TRUE(at::equal(hidden_, before));
  by_tape(kd, /*step=*/1);
  EXPECT_FALSE(at::equal(hidden_, before)) << "behind its steps nothing is intervened";
}

TEST_F(SideBySide, DrawnSamplesTakeTheTeachersOutputAndTheOthersTheirOwn) {
  // Written out as one graph: where() over what the two attentions give.
  const auto kd = objective("intervention = { steps = 10, chance = 0.5, chance_final = 0.5 }");
  by_tape(kd, /*step=*/4);
  const Tensor mixed = hidden_;
  const auto by_layers = gradients();
  zero_grad(student_->all());
  const auto cache = kvcache::make_stateless(student_->decoder().attention());
  Tensor x = student_->decoder().embed(tokens(), at::arange(kLength));
  Tensor t = teacher_->embed(tokens(), at::arange(kLength)).detach();
  int64_t drawn = 0;
  for (int64_t layer = 0; layer < 2; ++layer) {
    Tensor seen;
    {
      const at::NoGradGuard no_grad;
      t = teacher_->layer(layer, t, at::arange(kLength), *cache, {&seen, {}, {}});
    }
    Tensor rows = at::zeros({kBatch}, at::kBool);
    for (int64_t b = 0; b < kBatch; ++b)
      rows[b] = kd.intervention().drawn(1, 4, b, layer);
    drawn += rows.sum().item<int64_t>();
    // Each sequence on its own, whole or not at all.
    std::vector<Tensor> out;
    for (int64_t b = 0; b < kBatch; ++b) {
      const bool swap = rows[b].item<bool>();
      out.push_back(
          student_->decoder().layer(layer,
                                    x.narrow(0, b, 1),
                                    at::arange(kLength),
                                    *cache,
                                    {nullptr, swap ? seen.narrow(0, b, 1) : Tensor(), {}}));
    }
    x = at::cat(out);
  }
  ASSERT_GT(drawn, 0);
  ASSERT_LT(drawn, 2 * kBatch);
  const Tensor whole = student_->decoder().final_norm(x);
  EXPECT_LT((whole - mixed).abs().max().item<double>(), 1e-5);
  torch::autograd::backward({whole}, {from_behind()});
  for (const Slot& slot : student_->slots()) {
    const double scale = slot.grad->abs().max().item<double>() + 1e-6;
    EXPECT_LT((by_layers.at(slot.name) - *slot.grad).abs().max().item<double>() / scale, 1e-4)
        << slot.name;
  }
}

TEST_F(SideBySide, MicroBatchesTakeTheDrawsOfTheirSamples) {
  const auto kd = objective("intervention = { steps = 10, chance = 0.5, chance_final = 0.5 }");
  by_tape(kd, 4);
  const Tensor whole = hidden_;
  const distill::Counts totals = kd.counts(at::zeros({kBatch, kLength}, at::kLong));
  for (int64_t b = 0; b < kBatch; ++b) {
    Lockstep beside(*teacher_, kd, totals, {1, 4, b});
    Tape tape(*student_, false);
    const Tensor one = tape.forward(tokens().narrow(0, b, 1), &beside);
    EXPECT_LT((one - whole.narrow(0, b, 1)).abs().max().item<double>(), 1e-5) << b;
  }
}

}  // namespace
}  // namespace sterna::run
