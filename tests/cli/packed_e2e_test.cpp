// Exports are evaluated and continued from their own codes: with the same result as from decoded
// weights, for every scheme of the registry.
#include <nlohmann/json.hpp>

#include "quant/act_quantizer.h"
#include "quant/quantizer.h"
#include "tests/cli/verbs.h"
#include "tests/support/data.h"
#include "tests/support/integer_product.h"
#include "trainer/eval/perplexity.h"
#include "trainer/model/answering.h"
#include "trainer/model/same_tokens.h"
#include "trainer/model/weight_source.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

/// Rounding of fp32 sums may take this from a model, in nats.
constexpr double kLeastKld = 1e-6;

class PackedWeights : public tests::Verbs {
 protected:
  void SetUp() override {
    Verbs::SetUp();
    tests::TinyModel shape;
    shape.width = 64;
    shape.inner = 192;
    tests::write_tiny_model(folder_ / "wide", shape);
  }

  void quantize(const std::string& model, const std::vector<std::string>& how) {
    std::filesystem::remove_all(folder_ / "export");
    std::vector<std::string> all = {"quantize", model, "--out", path("export")};
    all.insert(all.end(), how.begin(), how.end());
    ASSERT_EQ(sterna(all), kDone) << err_;
  }

  /// Of the export `from` on `text`, against the export with decoded weights.
  eval::EvalResult compared(model::WeightForm form, const std::string& text, int64_t windows) {
    const model::CheckpointInfo info = model::inspect(folder_ / "export");
    const auto ids = model::open_tokenizer(info)->encode(text);
    const auto decoded = model::load_answering(info, at::kFloat, model::WeightForm::kDequantized);
    const auto packed = model::load_answering(info, at::kFloat, form);
    eval::EvalOptions options;
    options.window = 64;
    options.max_windows = windows;
    const auto result = eval::evaluate(packed.decoder, ids, options, &decoded.decoder);
    report_ = *packed.report;
    return result;
  }

  at::Tensor logits(const model::Decoder& decoder, const at::Tensor& ids) {
    const at::NoGradGuard no_grad;
    const auto cache = kvcache::make_stateless(decoder.attention());
    return decoder.head(decoder.hidden(ids, at::arange(ids.size(1)), *cache));
  }

  /// False where the codes of the export stand for other values than half steps.
  bool of_integers() {
    const auto source = model::open_weights(model::inspect(folder_ / "export"));
    const quant::Encoded e = *source->codes("model.layers.0.mlp.down_proj.weight");
    return tests::half_steps(e).has_value();
  }

  /// The packed model's logits have the bits of a model whose layers compute by definition.
  void expect_simulation() {
    const model::CheckpointInfo info = model::inspect(folder_ / "export");
    auto simulated = model::load_answering(info, at::kFloat, model::WeightForm::kDequantized);
    const auto source = model::open_weights(info);
    for (quant::Linear* linear : simulated.decoder.linears())
      tests::simulate_integers(*linear, *source->codes(linear->name + ".weight"));
    const auto packed = model::load_answering(info, at::kFloat, model::WeightForm::kPacked);
    EXPECT_TRUE(packed.report->decoded.empty());
    const at::Tensor ids = at::randint(0, 256, {2, 40}, at::kLong);
    EXPECT_TRUE(at::equal(logits(packed.decoder, ids), logits(simulated.decoder, ids)));
  }

  model::PackingReport report_;
};

TEST_F(PackedWeights, GiveWhatDecodedOnesGiveForEveryRegisteredScheme) {
  const std::string text = tests::tiny_text(40);
  for (const std::string& name : quant::quantizers().names()) {
    SCOPED_TRACE(name);
    quantize(path("wide"), {"quant.weight=" + name});
    const auto result = compared(model::WeightForm::kPacked, text, 4);
    EXPECT_LT(result.divergence->mean, kLeastKld);
    EXPECT_GT(result.divergence->same_top, 0.99);
    EXPECT_EQ(report_.packed.size() + report_.decoded.size(), 14u);
    EXPECT_EQ(report_.decoded.empty(), name != "nf3_sided");
  }
}

// A product of floats instead would move an input across the border of two codes now and then: what
// two machines give differs by more than this.
TEST_F(PackedWeights, WithIntegerInputsGiveTheBitsOfTheIntegerSimulationForEveryScheme) {
  for (const std::string& name : quant::quantizers().names()) {
    SCOPED_TRACE(name);
    quantize(path("wide"), {"quant.weight=" + name, "act.input=per_token"});
    if (of_integers())
      expect_simulation();
  }
  for (const char* weight : {"{ name = 'minmax_asym', bits = 2, group = 16 }",
                             "{ name = 'dint', group = 32 }",
                             "{ name = 'minmax_sym', bits = 8, group = 32 }"}) {
    SCOPED_TRACE(weight);
    quantize(path("wide"), {std::string("quant.weight=") + weight, "act.input=per_tensor"});
    expect_simulation();
  }
}

TEST_F(PackedWeights, OfStories260KGiveWhatDecodedOnesAndTheSimulationGive) {
  STERNA_REQUIRE_DATA("stories260K/hf/config.json");
  const std::string model = (tests::data_dir() / "stories260K/hf").string();
  const std::string text =
      tests::read_file(tests::data_dir() / "tinystories/tinystories.heldout.txt").substr(0, 8000);
  for (const char* weight : {"twn",
                             "seq",
                             "dint",
                             "{ name = 'minmax_asym', bits = 4, group = 0 }",
                             "{ name = 'minmax_sym', bits = 8, group = 0 }"}) {
    SCOPED_TRACE(weight);
    quantize(model, {std::string("quant.weight=") + weight});
    EXPECT_LT(compared(model::WeightForm::kPacked, text, 8).divergence->mean, kLeastKld);
    EXPECT_TRUE(report_.decoded.empty());
    quantize(model, {std::string("quant.weight=") + weight, "act.input=per_token"});
    expect_simulation();
  }
}

TEST_F(PackedWeights, StreamedFromTheFileGiveTheSameBits) {
  const at::Tensor ids = at::randint(0, 256, {2, 40}, at::kLong);
  for (const char* weight : {"dint", "nf3_sided"}) {
    quantize(path("wide"), {std::string("quant.weight=") + weight, "act.input=per_token"});
    const model::CheckpointInfo info = model::inspect(folder_ / "export");
    const auto held = model::load_answering(info, at::kFloat, model::WeightForm::kPacked);
    const auto streamed = model::load_answering(info, at::kFloat, model::WeightForm::kStreamed);
    const at::Tensor expected = logits(held.decoder, ids);
    for (int i = 0; i < 2; ++i)
      EXPECT_TRUE(at::equal(logits(streamed.decoder, ids), expected)) << weight;
    EXPECT_EQ(streamed.report->packed, held.report->packed);
    EXPECT_EQ(streamed.report->decoded, held.report->decoded);
  }
}

TEST_F(PackedWeights, AnEmbeddingInBlocksOfEightBitsIsLookedUpAndMultipliedAsItLies) {
  tests::TinyModel shape;
  shape.width = 64;
  shape.tied = true;
  tests::write_tiny_model(folder_ / "tied", shape);
  quantize(path("tied"),
           {"quant.weight=twn",
            "quant.rule=[{ match = 'model.embed_tokens', weight = { name = 'minmax_sym', bits = 8, "
            "group = 32, scale_dtype = 'fp16' } }]"});
  EXPECT_LT(compared(model::WeightForm::kPacked, tests::tiny_text(20), 4).divergence->mean,
            kLeastKld);
  EXPECT_TRUE(report_.packed.contains("model.embed_tokens.weight"));
}

TEST_F(PackedWeights, AreWhatEvalAndGenerateTakeUnlessToldOtherwise) {
  quantize(path("wide"), {"quant.weight=twn"});
  const auto eval = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {"eval",
                                    path("export"),
                                    "eval.text=" + path("text.txt"),
                                    "eval.window=32",
                                    "eval.max_windows=4",
                                    "--json",
                                    path("r.json")};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(sterna(all), kDone) << err_;
    return json::parse(tests::read_file(folder_ / "r.json"));
  };
  const json packed = eval({}), decoded = eval({"--weights", "dequantized"});
  EXPECT_EQ(packed.at("packed_matrices"), 14);
  EXPECT_EQ(decoded.at("packed_matrices"), 0);
  EXPECT_NEAR(packed.at("nll").get<double>(), decoded.at("nll").get<double>(), 1e-5);

  const std::vector<std::string> words = {
      "generate", path("export"), "--prompt", "the cat", "--max-new", "20"};
  ASSERT_EQ(sterna(words), kDone) << err_;
  const std::string text = out_;
  std::vector<std::string> other = words;
  other.insert(other.end(), {"--weights", "dequantized"});
  ASSERT_EQ(sterna(other), kDone) << err_;
  EXPECT_EQ(out_, text);
  other.back() = "paked";
  EXPECT_EQ(sterna(other), kUserError);
  EXPECT_HAS(err_, "--weights: expected packed or dequantized, found 'paked'");
}

TEST_F(PackedWeights, CodesThatNoKernelMultipliesAreNamed) {
  quantize(path("wide"), {"quant.weight=nf3_sided"});
  ASSERT_EQ(sterna({"generate", path("export"), "--prompt", "the", "--max-new", "2"}), kDone);
  EXPECT_HAS(err_, "no kernel multiplies the codes of 14 of 14 matrices");
  EXPECT_HAS(err_, "model.layers.0.mlp.down_proj.weight, ...");
}

}  // namespace
}  // namespace sterna::cli
