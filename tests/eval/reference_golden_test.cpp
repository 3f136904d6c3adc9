// Real checkpoints against what transformers computed on them.
#include <cstdlib>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/data.h"
#include "trainer/eval/config.h"
#include "trainer/eval/expected.h"
#include "trainer/eval/generate.h"
#include "trainer/eval/perplexity.h"
#include "trainer/io/json.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/load.h"

namespace sterna::eval {
namespace {

namespace fs = std::filesystem;

// The GGUF file that scripts/setup puts into the cache folder.
fs::path smollm2() {
  const char* cache = std::getenv("STERNA_CACHE");
  const char* home = std::getenv("HOME");
  const fs::path folder = cache != nullptr
                              ? fs::path(cache)
                              : fs::path(home == nullptr ? "" : home) / ".cache" / "sterna";
  return folder / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

#define STERNA_REQUIRE_SMOLLM2() \
  if (!fs::exists(smollm2()))    \
  GTEST_SKIP() << "SmolLM2 absent: " << smollm2() << " (scripts/setup installs it)"

void expect_within(const model::CheckpointInfo& info, const fs::path& expected, double tolerance) {
  const model::Decoder decoder = model::load_decoder(info, at::kFloat);
  const auto errors = compare_with_expected(decoder, *io::open_safetensors(expected));
  EXPECT_FALSE(errors.empty());
  for (const TensorError& error : errors) {
    EXPECT_LE(error.max, tolerance) << error.name;
    testing::Test::RecordProperty(error.name, std::to_string(error.max));
  }
}

void expect_within(const fs::path& checkpoint, const fs::path& expected, double tolerance) {
  expect_within(model::inspect(checkpoint), expected, tolerance);
}

fs::path golden(const char* name) {
  return tests::source_dir() / "tests" / "golden" / name;
}

TEST(GoldenLlama, BiasesGroupedHeadsAndLlama3RopeAgreeWithTransformers) {
  expect_within(golden("tiny_llama"), golden("tiny_llama") / "expected.safetensors", 1e-5);
}

TEST(GoldenLlama, TheSameWeightsInAGgufFileGiveTheSame) {
  expect_within(golden("tiny_llama.gguf"), golden("tiny_llama") / "expected.safetensors", 1e-5);
}

TEST(GoldenLlama, ShardsBf16TiedHeadAndTheNewerKeysAgreeWithTransformers) {
  expect_within(
      golden("tiny_llama_tied"), golden("tiny_llama_tied") / "expected.safetensors", 1e-5);
}

class GoldenFamily : public testing::TestWithParam<const char*> {};

TEST_P(GoldenFamily, AgreesWithTransformers) {
  expect_within(golden(GetParam()), golden(GetParam()) / "expected.safetensors", 1e-5);
}

TEST_P(GoldenFamily, ContinuesWithACacheAsWholePassesDo) {
  const model::Decoder decoder =
      model::load_decoder(model::inspect(golden(GetParam())), at::kFloat);
  std::vector<int32_t> ids = {5, 11, 3, 40, 7, 7, 19, 2, 33};
  Sampling sampling;
  sampling.max_new = 14;
  const auto made = generate(decoder, ids, sampling, {});
  for (const int32_t id : made) {
    const at::NoGradGuard no_grad;
    const at::Tensor text = at::tensor(at::ArrayRef<int32_t>(ids), at::kLong).unsqueeze(0);
    const auto cache = kvcache::make_stateless(decoder.attention());
    const at::Tensor hidden = decoder.hidden(text, at::arange(text.size(1)), *cache);
    ASSERT_EQ(decoder.head(hidden[0][-1]).argmax().item<int64_t>(), id) << ids.size();
    ids.push_back(id);
  }
}

INSTANTIATE_TEST_SUITE_P(Families,
                         GoldenFamily,
                         testing::Values("tiny_mistral",
                                         "tiny_qwen2",
                                         "tiny_qwen2_windows",
                                         "tiny_qwen3",
                                         "tiny_opt",
                                         "tiny_opt_behind",
                                         "tiny_gpt2",
                                         "tiny_llama_yarn"));

// Their frequencies depend on the length, so keys in a cache have been turned by others.
class GoldenRope : public testing::TestWithParam<const char*> {};

TEST_P(GoldenRope, BeyondTheOriginalLengthAgreesWithTransformers) {
  expect_within(golden(GetParam()), golden(GetParam()) / "expected.safetensors", 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Variants,
                         GoldenRope,
                         testing::Values("tiny_llama_dynamic", "tiny_llama_longrope"));

class GoldenGguf : public testing::TestWithParam<std::string> {};

TEST_P(GoldenGguf, TheSameWeightsInAGgufFileGiveTheSame) {
  expect_within(golden((GetParam() + ".gguf").c_str()),
                golden(GetParam().c_str()) / "expected.safetensors",
                1e-5);
}

INSTANTIATE_TEST_SUITE_P(Architectures,
                         GoldenGguf,
                         testing::Values("tiny_mistral", "tiny_qwen2", "tiny_qwen3", "tiny_gpt2"));

class TinyModels : public testing::TestWithParam<const char*> {};

TEST_P(TinyModels, GivesTheLogitsHiddenStatesAndAttentionsOfTransformers) {
  const std::string name = std::string("hf_tiny/") + GetParam();
  STERNA_REQUIRE_DATA(name);
  const fs::path folder = tests::data_dir() / name;
  model::CheckpointInfo info = model::inspect(folder);
  // The values of those that are stored in bf16 come from models that were cast as a whole.
  if (io::read_json(folder / "config.json").at("dtype") == "bfloat16")
    info.config.rope = with_bf16_frequencies(info.config.rope);
  expect_within(info, folder / "expected.safetensors", 1e-4);
}

INSTANTIATE_TEST_SUITE_P(All,
                         TinyModels,
                         testing::Values("llama-gqa",
                                         "llama-tied-rope-llama3",
                                         "llama-rope-linear",
                                         "mistral-swa",
                                         "qwen2",
                                         "qwen3",
                                         "opt-preln",
                                         "opt-postln-proj",
                                         "gpt2"));

TEST(Sterna7m, GivesTheLogitsOfTransformers) {
  STERNA_REQUIRE_DATA("sterna7m");
  const fs::path folder = tests::data_dir() / "sterna7m";
  expect_within(folder, folder / "expected.safetensors", 1e-3);
}

TEST(SmolLM2, GivesTheLogitsOfTransformers) {
  STERNA_REQUIRE_DATA("smollm2_135m");
  STERNA_REQUIRE_SMOLLM2();
  expect_within(smollm2(), tests::data_dir() / "smollm2_135m" / "expected.safetensors", 1e-3);
}

TEST(Stories260K, GivesItsKnownPerplexityOnHeldOutStories) {
  STERNA_REQUIRE_DATA("stories260K/hf");
  STERNA_REQUIRE_DATA("tinystories/tinystories.heldout.txt");
  const auto info = model::inspect(tests::data_dir() / "stories260K" / "hf");
  EvalConfig config;
  config.text = {tests::data_dir() / "tinystories" / "tinystories.heldout.txt"};
  config.separator = "<|endoftext|>";
  config.max_documents = 150;
  config.bos = "document";
  config.window = 512;
  config.overlap_target = true;
  const auto ids =
      data::read_eval_ids(config.text_options(), *text::open_tokenizer(info.tokenizer_path));
  const EvalResult result = evaluate(model::load_decoder(info, at::kFloat), ids, config.options());
  EXPECT_EQ(result.predicted_tokens, 58368);
  EXPECT_NEAR(result.nll, 1.34387, 1e-4);
}

TEST(SmolLM2, ContinuesGreedilyAsTransformersDoes) {
  STERNA_REQUIRE_DATA("smollm2_135m/expected.json");
  STERNA_REQUIRE_SMOLLM2();
  const model::Decoder decoder = model::load_decoder(model::inspect(smollm2()), at::kFloat);
  const nlohmann::json cases =
      io::read_json(tests::data_dir() / "smollm2_135m" / "expected.json").at("greedy");
  for (const auto& one : cases) {
    auto ids = one.at("prompt_ids").get<std::vector<int32_t>>();
    const auto expected = one.at("ids").get<std::vector<int32_t>>();
    Sampling sampling;
    sampling.max_new = static_cast<int64_t>(expected.size() - ids.size());
    const auto made = generate(decoder, ids, sampling, decoder.config().eos);
    ids.insert(ids.end(), made.begin(), made.end());
    EXPECT_EQ(ids, expected) << one.at("prompt");
  }
}

}  // namespace
}  // namespace sterna::eval
