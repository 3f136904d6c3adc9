#include "trainer/run/tape.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/run/student_fixture.h"

namespace sterna::run {
namespace {

Tensor tokens() {
  return at::arange(2 * 9, at::kLong).reshape({2, 9}).mul(7).remainder(257);
}

std::map<std::string, Tensor> gradients_by_tape(Student& student, bool recompute, const Tensor& d) {
  zero_grad(student.all());
  Tape tape(student, recompute);
  tape.forward(tokens());
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
  const auto cache = kvcache::make_stateless(student->decoder().rope());
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
