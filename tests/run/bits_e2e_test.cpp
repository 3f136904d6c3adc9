// Bits shared out by sensitivity before a run begins, and taken up again by a resumed one.
#include "tests/run/train_fixture.h"
#include "trainer/io/atomic_file.h"

namespace sterna::run {
namespace {

class BitsOfARun : public tests::Training {
 protected:
  std::vector<std::string> budget(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all{"quant.weight={ name = 'affine_learned', bits = 2, group = 16 }",
                                 "quant.budget_bits=4",
                                 "quant.budget_text=" + (folder_.path() / "text.txt").string(),
                                 "quant.budget_tokens=128",
                                 "train.steps=4",
                                 "train.checkpoint_every=2"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string rules(const std::string& name) const {
    return io::read_text(run_folder(name) / "bits.toml");
  }
};

TEST_F(BitsOfARun, AreMeasuredPrintedAndKeptAsRules) {
  ASSERT_EQ(train("a", budget({"export.format=sterna"})), 0) << output_;
  EXPECT_NE(output_.find("assigned: 14 matrices"), std::string::npos) << output_;
  EXPECT_NE(rules("a").find("[[quant.rule]]\nmatch = \"model.layers.1.mlp.down_proj\"\n"),
            std::string::npos);
  const std::string recipe = io::read_text(run_folder("a") / "recipe.toml");
  EXPECT_NE(recipe.find("model.layers.1.mlp.down_proj"), std::string::npos);

  // The run's own recipe, with the rules in it, measures nothing and gives the same run.
  tests::Program again({"train",
                        (run_folder("a") / "recipe.toml").string(),
                        "run.name=b",
                        "data.cache=" + (folder_.path() / "tokens").string()},
                       folder_.path() / "output.txt");
  ASSERT_EQ(again.wait(), 0) << again.output();
  EXPECT_EQ(again.output().find("assigned:"), std::string::npos);
  EXPECT_EQ(hashes("a", "step-4"), hashes("b", "step-4"));
}

TEST_F(BitsOfARun, AreTakenFromItsFolderWhereItIsResumed) {
  ASSERT_EQ(train("whole", budget()), 0) << output_;
  ASSERT_EQ(train("parts", budget({"train.steps=4"})), 0) << output_;
  std::filesystem::remove_all(run_folder("parts") / "checkpoints" / "step-4");
  ASSERT_EQ(train("parts", budget({"--resume"})), 0) << output_;
  EXPECT_EQ(output_.find("assigned:"), std::string::npos) << output_;
  EXPECT_EQ(hashes("whole", "step-4"), hashes("parts", "step-4"));
  EXPECT_EQ(train("parts", budget()), 2) << "holds a run already";
  EXPECT_EQ(output_.find("assigned:"), std::string::npos) << "said before anything is measured";
}

}  // namespace
}  // namespace sterna::run
