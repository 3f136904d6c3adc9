// `sterna quantize` with GPTQ, and with every kind of codes.

#include <nlohmann/json.hpp>

#include "quant/quantizer.h"
#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

class Quantize : public tests::Verbs {
 protected:
  int quantize(const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"quantize", path("model"), "--out", path(out)};
    all.insert(all.end(), more.begin(), more.end());
    return sterna(all);
  }

  /// KL divergence of an export from the model.
  double divergence(const std::string& out) {
    EXPECT_EQ(sterna({"eval",
                      path(out),
                      "eval.text=" + path("text.txt"),
                      "eval.window=32",
                      "eval.max_windows=8",
                      "eval.reference=" + path("model"),
                      "--json",
                      path("result.json")}),
              kDone)
        << err_;
    return nlohmann::json::parse(tests::read_file(path("result.json")))["kld"]["mean"];
  }
};

TEST_F(Quantize, ByGptqIsNearerToTheModelThanRoundingToNearest) {
  const std::string weight = "quant.weight={ name = 'minmax_asym', bits = 2, group = 16 }";
  ASSERT_EQ(quantize("nearest", {weight}), kDone) << err_;
  ASSERT_EQ(quantize("gptq",
                     {weight,
                      "ptq.rounding=gptq",
                      "ptq.text=" + path("text.txt"),
                      "ptq.samples=16",
                      "ptq.seq_len=32"}),
            kDone)
      << err_;
  EXPECT_HAS(out_, "measured on 16 x 32 tokens");
  EXPECT_LT(divergence("gptq"), divergence("nearest"));
}

TEST_F(Quantize, WithEveryRegisteredQuantizerGivesAnExportThatEvaluates) {
  for (const std::string& name : quant::quantizers().names()) {
    const bool grouped = name != "absmean" && name != "clip_learned";
    ASSERT_EQ(quantize(name,
                       {"quant.weight={ name = '" + name + "', group = " + (grouped ? "16" : "-1") +
                        " }"}),
              kDone)
        << err_;
    EXPECT_GT(divergence(name), 0) << name;
  }
}

TEST_F(Quantize, GivesEachMatrixBitsByItsSensitivityAndWritesThemAsRules) {
  const std::vector<std::string> budget = {
      "quant.weight={ name = 'minmax_asym', bits = 3, group = 16 }",
      "quant.budget_bits=4",
      "quant.budget_text=" + path("text.txt"),
      "quant.budget_tokens=256",
      "train.threads=1"};
  ASSERT_EQ(quantize("mixed", budget), kDone) << err_;
  EXPECT_HAS(out_, "assigned: 14 matrices");
  EXPECT_HAS(out_, "bits = 2 everywhere: 3.1250, ");
  EXPECT_HAS(err_, "sensitivity of block 2 of 2");
  EXPECT_GT(divergence("mixed"), 0);

  // The file alone gives the same codes, and the export vouches for it.
  ASSERT_EQ(quantize("again", {path("mixed/bits.toml")}), kDone) << err_;
  EXPECT_EQ(tests::read_file(path("mixed/sterna.safetensors")),
            tests::read_file(path("again/sterna.safetensors")));
  EXPECT_HAS(tests::read_file(path("mixed/SHA256SUMS")), "bits.toml");

  std::vector<std::string> less = budget;
  less[1] = "quant.budget_bits=2";
  EXPECT_EQ(quantize("less", less), kUserError);
  EXPECT_HAS(err_, "command line: 'quant.budget_bits': 2.0 bits of a weight are not enough");
  less = budget;
  less[2] = "quant.budget_text=" + path("nowhere.txt");
  EXPECT_EQ(quantize("less", less), kUserError);
  EXPECT_HAS(err_, "command line: 'quant.budget_text': ");
}

TEST_F(Quantize, ByGptqSaysWhatItLacks) {
  const auto error = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {"quant.weight={ name = 'nf', group = 16 }",
                                    "ptq.rounding=gptq"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(quantize("refused", all), kUserError);
    return err_;
  };
  EXPECT_HAS(error({}), "give ptq.text=FILE");
  EXPECT_HAS(error({"ptq.text=" + path("nowhere.txt")}), "nowhere.txt");
  EXPECT_HAS(error({"ptq.text=" + path("text.txt"), "ptq.seq_len=1000000"}), "give a longer text");
  EXPECT_HAS(error({"ptq.texts=x"}), "did you mean");
}

}  // namespace
}  // namespace sterna::cli
