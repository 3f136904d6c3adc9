// Real checkpoints against what transformers computed on them.
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/support/data.h"
#include "trainer/eval/expected.h"
#include "trainer/eval/perplexity.h"
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

}  // namespace
}  // namespace sterna::eval
