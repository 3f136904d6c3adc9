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
