// Ids and decoded text as Hugging Face tokenizers, SentencePiece and llama.cpp give them: on small
// tokenizers of our own (scripts/golden/make_tokenizers.py) and on the reference sets.
#include "tests/support/data.h"
#include "tests/support/tokenizers.h"
#include "tests/text/cases.h"

namespace sterna::text {
namespace {

void expect_reference(const std::filesystem::path& path, const std::string& name) {
  tests::expect_cases(path, tests::data_dir() / "tokenizers/cases" / (name + ".json"));
}

class SmallTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(SmallTokenizer, GivesTheIdsAndTextOfItsMaker) {
  const std::filesystem::path folder = tests::golden_tokenizers();
  const std::string file = GetParam();
  const std::string name = file.substr(0, file.find('.'));
  tests::expect_cases(folder / file, folder / (name + ".cases.json"));
}

INSTANTIATE_TEST_SUITE_P(All,
                         SmallTokenizer,
                         testing::Values("gpt2.json",
                                         "smollm.json",
                                         "llama3.json",
                                         "qwen2.json",
                                         "mapped.json",
                                         "fallback.json",
                                         "metaspace.json",
                                         "words.json",
                                         "patterns.json",
                                         "tekken.json",
                                         "added.json",
                                         "bert.json",
                                         "bert_cased.json",
                                         "bpe.model",
                                         "unigram.model"),
                         [](const auto& one) {
                           const std::string file = one.param;
                           return file.substr(0, file.find('.'));
                         });

TEST(TokenizerCases, PairsGetTheirSpecialTokensAndAreCutAsHuggingFaceCutsThem) {
  const std::filesystem::path folder = tests::golden_tokenizers();
  for (const std::string name : {"bert", "bert_cased"}) {
    EXPECT_GT(tests::expect_pairs(folder / (name + ".json"), folder / (name + ".pairs.json"), 24),
              50u);
  }
}

TEST(TokenizerCases, WordPieceAgreesWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/bert-base-uncased.json");
  expect_reference(tests::data_dir() / "tokenizers/bert-base-uncased", "bert-base-uncased");
}

TEST(TokenizerCases, BertsPairsAgreeWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/bert-pairs.json");
  const std::filesystem::path folder = tests::data_dir() / "tokenizers";
  EXPECT_GT(tests::expect_pairs(folder / "bert-base-uncased", folder / "cases/bert-pairs.json", 32),
            0u);
}

TEST(TokenizerCases, VocabularyAndMergesOfGpt2AgreeWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/gpt2-vocab-merges.json");
  expect_reference(tests::data_dir() / "tokenizers/gpt2", "gpt2-vocab-merges");
}

TEST(TokenizerCases, ByteLevelBpeWithDigitsAgreesWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/sterna4096.json");
  expect_reference(tests::data_dir() / "sterna7m", "sterna4096");
}

TEST(TokenizerCases, NfcAndNormalizedAddedTokensAgreeWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/gpt-neox-olmo.json");
  expect_reference(tests::data_dir() / "tokenizers/gpt-neox-olmo", "gpt-neox-olmo");
}

TEST(TokenizerCases, ByteFallbackBpeAgreesWithHuggingFace) {
  STERNA_REQUIRE_DATA("tokenizers/cases/tok512-json.json");
  expect_reference(tests::data_dir() / "stories260K/hf/tokenizer.json", "tok512-json");
}

TEST(TokenizerCases, SentencePieceModelAgreesWithSentencePiece) {
  STERNA_REQUIRE_DATA("tokenizers/cases/tok512-spm.json");
  expect_reference(tests::data_dir() / "stories260K/tok512.model", "tok512-spm");
}

TEST(TokenizerCases, TokenizerInsideGgufAgreesWithHuggingFaceAndLlamaCpp) {
  STERNA_REQUIRE_DATA("tokenizers/cases/smollm2-gguf.json");
  STERNA_REQUIRE_SMOLLM2();
  expect_reference(tests::smollm2(), "smollm2-gguf");
}

}  // namespace
}  // namespace sterna::text
