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

}  // namespace
}  // namespace sterna::run
