#include "trainer/run/tape.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/run/student_fixture.h"
#include "trainer/run/step.h"

namespace sterna::run {
namespace {

Tensor tokens() {
  return at::arange(2 * 9, at::kLong).reshape({2, 9}).mul(7).remainder(257);
}

std::map<std::string, Tensor> gradients_by_tape(Student& student, bool recompute, const Tensor& d) {
  zero_grad(student.all());
  Tape tape(student, recompute);
  tape.forward(Inputs(tokens()));
  tape.backward(d);
  std::map<std::string, Tensor> result;
  for (const Slot& slot : student.slots())
    if (slot.grad->defined())
      result[slot.name] = slot.grad->clone();
  return result;
}

class TapeOf : public testing::TestWithParam<bool> {};

TEST_P(TapeOf, BlocksGivesTheGradientsOfOneGraphThroughTheWholeModel) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), GetParam(), {}, none);
  const Tensor d = at::randn({2, 9, 64}, at::detail::createCPUGenerator(3)).pow(3);
  const auto by_tape = gradients_by_tape(*student, false, d);
  const auto again = gradients_by_tape(*student, true, d);

  zero_grad(student->all());
  const auto cache = kvcache::make_stateless(student->decoder().attention());
  const Tensor whole = student->decoder().hidden(tokens(), at::arange(9), *cache);
  torch::autograd::backward({whole}, {d});
  int64_t moved = 0;
  for (const Slot& slot : student->slots()) {
    EXPECT_TRUE(at::equal(by_tape.at(slot.name), *slot.grad)) << slot.name;
    EXPECT_TRUE(at::equal(again.at(slot.name), *slot.grad)) << slot.name << ", recomputed";
    moved += slot.grad->abs().max().item<float>() > 0 ? 1 : 0;
  }
  // All but an untied head, which the loss feeds.
  EXPECT_EQ(moved, static_cast<int64_t>(student->slots().size()) - (GetParam() ? 0 : 1));
}

INSTANTIATE_TEST_SUITE_P(UntiedAndTied, TapeOf, testing::Bool());

/// Two rows of several documents, and the same as batches of one document each.
class PackedRows : public Repeated {
 public:
  data::Sample at(int64_t index) const override {
    data::Sample sample = Repeated::at(index);
    for (size_t t = 0; t < sample.loss.size(); ++t)
      sample.documents.push_back(t < 5 + static_cast<size_t>(index) ? 3 : 1);
    return sample;
  }
};

TEST(Tape, APackedRowTrainsAsItsDocumentsDoAlone) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), false, {}, none);
  const Batch batch = load_batch(PackedRows(), 0, 2);
  ASSERT_EQ(batch.inputs.documents.sizes(), (std::vector<int64_t>{2, 16}));
  EXPECT_EQ(batch.inputs.documents[0].sum().item<int64_t>(), 5 * 3 + 11);
  EXPECT_EQ(batch.inputs.positions[1][6].item<int64_t>(), 0);
  const Tensor d = at::randn({2, 16, 64}, at::detail::createCPUGenerator(3)).pow(3);
  Tape tape(*student, /*recompute=*/true);
  const Tensor hidden = tape.forward(batch.inputs);
  tape.backward(d);
  std::map<std::string, Tensor> packed;
  for (const Slot& slot : student->slots())
    packed[slot.name] = slot.grad->clone();
  zero_grad(student->all());
  for (int64_t row = 0; row < 2; ++row) {
    for (const auto& [from, count] :
         {std::pair<int64_t, int64_t>{0, 5 + row}, {5 + row, 11 - row}}) {
      const auto cut = [&, from = from, count = count](const Tensor& x) {
        return x.narrow(0, row, 1).narrow(1, from, count);
      };
      const Tensor alone = tape.forward(Inputs(cut(batch.inputs.tokens)));
      EXPECT_LT((alone - cut(hidden)).abs().max().item<float>(), 1e-5);
      tape.backward(cut(d));
    }
  }
  for (const Slot& slot : student->slots())
    EXPECT_LT((packed.at(slot.name) - *slot.grad).abs().max().item<float>(),
              1e-4 * (1e-3 + slot.grad->abs().max().item<float>()))
        << slot.name;
}

TEST(Tape, SamplesOfABatchAgreeOnHavingDocuments) {
  class Mixed final : public PackedRows {
    data::Sample at(int64_t index) const override {
      return index == 1 ? Repeated::at(index) : PackedRows::at(index);
    }
  };
  EXPECT_THROW(load_batch(Mixed(), 0, 2), c10::Error);
}

TEST(Tape, StopsAtTheLowestTrainedBlockAndLeavesFrozenOnesWithoutGradient) {
  const tests::TempFolder folder;
  Freezing freezing;
  freezing.patterns = {"model.embed_tokens", "model.layers.0.*", "lm_head"};
  const auto student = make_student(folder.path(), false, freezing, none);
  const Tensor d = at::ones({2, 9, 64});
  const auto grads = gradients_by_tape(*student, false, d);
  EXPECT_FALSE(grads.contains("model.layers.0.mlp.up_proj.weight"));
  EXPECT_FALSE(grads.contains("model.embed_tokens.weight"));
  ASSERT_TRUE(grads.contains("model.layers.1.input_layernorm.weight"));
  EXPECT_GT(grads.at("model.layers.1.self_attn.q_proj.weight").abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace sterna::run
