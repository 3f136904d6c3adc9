// Which parameters train.freeze and train.only leave to the optimizer.
#include <set>

#include <gtest/gtest.h>

#include "tests/run/student_fixture.h"

namespace sterna::run {
namespace {

std::set<std::string> trained(bool tied, const Freezing& freezing) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), tied, freezing, learned_in_blocks);
  std::set<std::string> names;
  for (const Slot& slot : student->slots()) {
    if (slot.trains_master)
      names.insert(slot.name);
    if (slot.trains_quantizer)
      names.insert(slot.name + ".quant");
  }
  return names;
}

TEST(Freezing, ATiedHeadIsFrozenUnderEitherName) {
  for (const char* pattern : {"lm_head", "lm_head.weight", "model.embed_tokens", "*embed*"}) {
    const std::set<std::string> names = trained(/*tied=*/true, {{pattern}});
    EXPECT_EQ(names.count("model.embed_tokens.weight"), 0u) << pattern;
    EXPECT_EQ(names.count("model.norm.weight"), 1u) << pattern;
  }
}

TEST(Freezing, AnUntiedHeadAndItsEmbeddingAreFrozenApart) {
  const std::set<std::string> names = trained(/*tied=*/false, {{"lm_head"}});
  EXPECT_EQ(names.count("lm_head.weight"), 0u);
  EXPECT_EQ(names.count("model.embed_tokens.weight"), 1u);
}

TEST(Freezing, OnlyQuantizersLeavesTheirParametersAlone) {
  const std::set<std::string> names = trained(/*tied=*/true, {{}, /*only_quantizers=*/true});
  EXPECT_EQ(names.size(), 2u * 7u);  // seven matrices in each of two blocks
  for (const std::string& name : names)
    EXPECT_TRUE(name.ends_with(".quant")) << name;
}

TEST(Freezing, HeldCodesLeaveScalesAloneToTheOptimizerWithTheGradientOfAProduct) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), /*tied=*/true, {}, learned_in_blocks);
  student->hold_codes();
  Slot& slot = *student->find("model.layers.1.mlp.up_proj.weight");
  const at::Tensor codes = slot.held->codes.clone();
  const at::Tensor values = slot.master.clone();
  zero_grad(student->all());
  slot.grad->copy_(at::arange(slot.grad->numel()).remainder(7).sub_(3).view_as(*slot.grad));

  const std::vector<Trained> moved = gradients(student->all(), {});
  EXPECT_EQ(moved.size(), 2u * 7u) << "no zero point, no master, no norm";
  EXPECT_EQ(trained_tensors(*student).size(), 2u * 7u);
  const at::Tensor counts =
      (codes.to(at::kFloat).view({128, 1, 64}) - slot.held->zeros.unsqueeze(2));
  for (const Trained& each : moved) {
    ASSERT_TRUE(each.name.ends_with(".quant.scale")) << each.name;
    if (!each.name.starts_with(slot.name))
      continue;
    const at::Tensor expected = (slot.grad->view({128, 1, 64}) * counts).sum(-1);
    EXPECT_TRUE(at::allclose(each.grad, expected, 1e-5, 1e-5));
    each.value.mul_(1.75);  // far enough to move codes that were rounded anew
  }
  touch(student->all());
  student->materialize();
  EXPECT_TRUE(at::equal(slot.quantizer->encode(slot.master).codes, codes));
  EXPECT_TRUE(at::allclose(slot.master, 1.75 * values, 1e-2)) << "scales are rounded to bf16";
  EXPECT_TRUE(at::equal(*slot.value, slot.master));
}

}  // namespace
}  // namespace sterna::run
