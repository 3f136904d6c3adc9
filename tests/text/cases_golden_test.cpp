// Ids and decoded text as Hugging Face tokenizers, SentencePiece and llama.cpp give them, on the
// reference sets.
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/data.h"
#include "trainer/text/tokenizer.h"

namespace sterna::text {
namespace {

std::filesystem::path smollm2() {
  const char* cache = std::getenv("STERNA_CACHE");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder =
      cache != nullptr ? std::filesystem::path(cache)
                       : std::filesystem::path(home == nullptr ? "" : home) / ".cache/sterna";
  return folder / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

void expect_cases(const std::filesystem::path& tokenizer_path, const std::string& name) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(tokenizer_path);
  std::ifstream file(tests::data_dir() / "tokenizers/cases" / (name + ".json"));
  const nlohmann::json set = nlohmann::json::parse(file);
  ASSERT_GT(set.at("cases").size(), 0u);
  for (const nlohmann::json& one : set.at("cases")) {
    const std::vector<int32_t> ids = one.at("ids");
    const std::string text = one.at("text");
    EXPECT_EQ(tokenizer->encode(text), ids) << text;
    EXPECT_EQ(tokenizer->decode(ids), one.at("decoded").get<std::string>()) << text;
  }
}

TEST(TokenizerCases, ByteLevelBpeWithDigitsAgreesWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/sterna4096.json");
  expect_cases(tests::data_dir() / "sterna7m", "sterna4096");
}

TEST(TokenizerCases, NfcAndNormalizedAddedTokensAgreeWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/gpt-neox-olmo.json");
  expect_cases(tests::data_dir() / "tokenizers/gpt-neox-olmo", "gpt-neox-olmo");
}

TEST(TokenizerCases, ByteFallbackBpeAgreesWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/tok512-json.json");
  expect_cases(tests::data_dir() / "stories260K/hf/tokenizer.json", "tok512-json");
}

TEST(TokenizerCases, SentencePieceModelAgreesWithSentencePiece) {
  STERNA_REQUIRE_DATA("tokenizers/cases/tok512-spm.json");
  expect_cases(tests::data_dir() / "stories260K/tok512.model", "tok512-spm");
}

TEST(TokenizerCases, TokenizerInsideGgufAgreesWithHuggingFaceAndLlamaCpp) {
  STERNA_REQUIRE_DATA("tokenizers/cases/smollm2-gguf.json");
  if (!std::filesystem::exists(smollm2())) {
    GTEST_SKIP() << "model absent: " << smollm2() << " (scripts/test installs it)";
  }
  expect_cases(smollm2(), "smollm2-gguf");
}

}  // namespace
}  // namespace sterna::text
