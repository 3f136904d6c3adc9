// Random text of every script through every kind of tokenizer: ids and decoded text are those of
// Hugging Face tokenizers and SentencePiece. (cases_golden_test holds chosen texts.)
#include "tests/support/peers.h"
#include "tests/support/tokenizers.h"
#include "tests/text/cases.h"

namespace sterna::text {
namespace {

class RandomText : public tests::Peers {};

TEST_F(RandomText, GivesTheIdsAndTextOfTheTokenizersMaker) {
  constexpr size_t kTexts = 400;
  const std::filesystem::path golden = tests::golden_tokenizers();
  ASSERT_NO_FATAL_FAILURE(
      python("scripts/peers/random_cases.py",
             {golden.string(), folder_.path().string(), "20261121", std::to_string(kTexts)}));
  int tokenizers = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    const std::filesystem::path& file = entry.path();
    const auto cases = folder_ / (file.stem().string() + ".cases.json");
    // Versions of SentencePiece decide between equally likely segmentations (ll|l, l|ll) otherwise.
    const std::string name = file.filename().string();
    if (name.ends_with(".cases.json") || name.ends_with(".pairs.json") || name == "unigram.model")
      continue;
    EXPECT_EQ(tests::expect_cases(file, cases), kTexts);
    ++tokenizers;
  }
  EXPECT_EQ(tokenizers, 14);
}

}  // namespace
}  // namespace sterna::text
