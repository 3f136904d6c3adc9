// `train.only = "scales"` with an average of them: resumed to the bit, and read as it was
// evaluated.
#include <nlohmann/json.hpp>

#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

const std::vector<std::string> kScales{
    "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
    "train.only=scales",
    "train.ema=0.9",
    "train.lr=1e-2",
    "train.steps=8",
    "train.checkpoint_every=2",
    "train.keep_last=9",
    "eval.window=32",
    "eval.max_windows=8"};

class ScalesOnly : public Training {
 protected:
  std::vector<std::string> wanted(const std::string& more = "") const {
    std::vector<std::string> all = kScales;
    all.push_back("eval.text=" + (folder_ / "text.txt").string());
    if (!more.empty())
      all.push_back(more);
    return all;
  }
};

TEST_F(ScalesOnly, WithAnAverageAreResumedToTheSameWeights) {
  ASSERT_EQ(train("straight", wanted()), 0) << output_;
  ASSERT_EQ(train("again", wanted()), 0) << output_;
  for (const char* late : {"step-6", "step-8"})
    std::filesystem::remove_all(run_folder("again") / "checkpoints" / late);
  ASSERT_EQ(train("again", wanted("--resume")), 0) << output_;
  const std::string all = hashes("straight", "step-8");
  ASSERT_NE(all.find("ema"), std::string::npos);
  EXPECT_EQ(hashes("again", "step-8"), all);
}

TEST_F(ScalesOnly, WithAnAverageAreReadAsTheRunEvaluatedThem) {
  ASSERT_EQ(train("run", wanted()), 0) << output_;
  const auto ppl = [](const std::filesystem::path& file) {
    return nlohmann::json::parse(io::read_text(file)).at("ppl").get<double>();
  };
  const double closing = ppl(run_folder("run") / "eval/step-8.text.txt.json");
  Program eval({"eval",
                run_folder("run").string(),
                "eval.text=" + (folder_ / "text.txt").string(),
                "eval.window=32",
                "eval.max_windows=8",
                "--json",
                (folder_ / "eval.json").string()},
               folder_ / "output.txt");
  ASSERT_EQ(eval.wait(), 0) << eval.output();
  EXPECT_NEAR(ppl(folder_ / "eval.json"), closing, 1e-4 * closing);
}

}  // namespace
}  // namespace sterna::tests
