// Rounding without training, by whatever is registered.
#include "quant/quantizer.h"
#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

class Quantize : public tests::Verbs {};

TEST_F(Quantize, EveryRegisteredQuantizerMakesAnExportThatIsEvaluated) {
  for (const std::string& name : quant::quantizers().names()) {
    const std::string weight = "quant.weight={name='" + name + "', group=0}";
    ASSERT_EQ(sterna({"quantize", path("model"), "--out", path(name), weight}), kDone)
        << name << ": " << err_;
    EXPECT_HAS(out_, "14 matrices, ");
    EXPECT_EQ(sterna({"eval", path(name), "eval.text=" + path("text.txt"), "eval.window=16"}),
              kDone)
        << name << ": " << err_;
  }
}

TEST_F(Quantize, TakesThePlanOfATrainingRecipeAndRefusesATypoBesideIt) {
  const std::string recipe = (tests::source_dir() / "recipes/tests/tiny_kl.toml").string();
  EXPECT_EQ(sterna({"quantize", path("model"), recipe, "--out", path("a")}), kDone) << err_;
  EXPECT_EQ(sterna({"quantize", path("model"), recipe, "--out", path("b"), "qant.weight=seq"}),
            kUserError);
  EXPECT_HAS(err_, "command line: unknown key 'qant'");
}

}  // namespace
}  // namespace sterna::cli
