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

void expect_within(const fs::path& checkpoint, const fs::path& expected, double tolerance) {
  const model::Decoder decoder = model::load_decoder(model::inspect(checkpoint), at::kFloat);
  const auto errors = compare_with_expected(decoder, *io::open_safetensors(expected));
  EXPECT_FALSE(errors.empty());
  for (const TensorError& error : errors) {
    EXPECT_LE(error.max, tolerance) << error.name;
    testing::Test::RecordProperty(error.name, std::to_string(error.max));
  }
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

class TinyLlama : public testing::TestWithParam<const char*> {};

TEST_P(TinyLlama, GivesTheLogitsHiddenStatesAndAttentionsOfTransformers) {
  const std::string name = std::string("hf_tiny/") + GetParam();
  STERNA_REQUIRE_DATA(name);
  const fs::path folder = tests::data_dir() / name;
  expect_within(folder, folder / "expected.safetensors", 1e-4);
}

INSTANTIATE_TEST_SUITE_P(
    All, TinyLlama, testing::Values("llama-gqa", "llama-tied-rope-llama3", "llama-rope-linear"));

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
