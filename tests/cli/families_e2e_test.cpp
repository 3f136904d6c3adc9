// Every family through every verb: block-wise and end-to-end training, both exports certified,
// evaluation, text, rounding alone. What the export is loaded by is checked in
// transformers_interop_test.cpp.
#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"
#include "tests/support/tiny_families.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

class Families : public tests::Verbs, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    tests::write_tiny_family(folder_ / "model", GetParam());
    tests::write_file(folder_ / "text.txt", tests::tiny_text(400));
  }

  double perplexity(const std::string& checkpoint) {
    EXPECT_EQ(sterna({"eval",
                      path(checkpoint),
                      "eval.text=" + path("text.txt"),
                      "eval.window=16",
                      "eval.max_windows=8",
                      "--json",
                      path("eval.json")}),
              kDone)
        << err_;
    return json::parse(tests::read_file(folder_ / "eval.json")).at("ppl");
  }

  std::string text_of(const std::string& checkpoint) {
    EXPECT_EQ(sterna({"generate", path(checkpoint), "--prompt", "the cat", "--max-new", "20"}),
              kDone)
        << err_;
    return out_;
  }

  void expect_certified(const std::string& format) {
    ASSERT_EQ(sterna({"export", path("runs/r"), "--format", format, "--out", path(format)}), kDone)
        << err_;
    EXPECT_EQ(sterna({"verify",
                      path(format),
                      "--against",
                      path("runs/r"),
                      "verify.text=" + path("text.txt"),
                      "verify.window=16"}),
              kDone)
        << out_ << err_;
    const json certificate = json::parse(tests::read_file(folder_ / format / "certificate.json"));
    EXPECT_LT(certificate.at("kld").get<double>(), 1e-4);
  }
};

TEST_P(Families, TrainBlockwiseAndEndToEndThenExportVerifyEvaluateAndGenerate) {
  ASSERT_EQ(sterna(training("r",
                            {"train.steps=6",
                             "train.checkpoint_every=6",
                             "train.freeze=[]",
                             "train.recompute=true",
                             "quant.weight=affine_learned",
                             "quant.weight.group=32",
                             "quant.weight.bits=3",
                             "blockwise.samples=8",
                             "blockwise.batch=4"})),
            kDone)
      << err_;
  ASSERT_NO_FATAL_FAILURE(expect_certified("sterna"));
  ASSERT_NO_FATAL_FAILURE(expect_certified("dense"));
  // What is not quantized is rounded to bf16 in the exports, no more.
  const double trained = perplexity("runs/r");
  EXPECT_NEAR(perplexity("sterna") / trained, 1, 0.02);
  EXPECT_NEAR(perplexity("dense") / trained, 1, 0.02);
  for (const char* checkpoint : {"runs/r", "sterna", "dense"})
    EXPECT_FALSE(text_of(checkpoint).empty()) << checkpoint;
}

TEST_P(Families, RecomputedActivationsGiveTheSameTraining) {
  const std::vector<std::string> keep = {"train.freeze=[]"};
  ASSERT_EQ(sterna(training("kept", keep)), kDone) << err_;
  ASSERT_EQ(sterna(training("again", {"train.freeze=[]", "train.recompute=true"})), kDone) << err_;
  const auto weights = [&](const std::string& run) {
    return tests::read_file(folder_ / "runs" / run / "checkpoints/step-2/master.safetensors");
  };
  EXPECT_EQ(weights("kept"), weights("again"));
}

TEST_P(Families, QuantizeRoundsTheBlocksAndCheckListsThem) {
  ASSERT_EQ(sterna({"quantize",
                    path("model"),
                    "quant.weight=minmax_sym",
                    "quant.weight.bits=4",
                    "quant.weight.group=32",
                    "--out",
                    path("rounded")}),
            kDone)
      << err_;
  EXPECT_NEAR(perplexity("rounded") / perplexity("model"), 1, 0.3);
  auto arguments = training("plan", {"train.freeze=[]"});
  arguments[0] = "check";
  ASSERT_EQ(sterna(arguments), kDone) << err_;
  const bool fused = GetParam() == "gpt2";
  EXPECT_HAS(out_, fused ? "transformer.h.1.attn.c_attn.weight" : ".layers.1.self_attn.q_proj");
  EXPECT_HAS(out_, fused ? "[96, 32]" : "[32, 32]");
}

INSTANTIATE_TEST_SUITE_P(All,
                         Families,
                         testing::ValuesIn(tests::tiny_family_names()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace sterna::cli
