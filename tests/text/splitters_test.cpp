// The hand-written splitters against the regular expressions that they stand for.
#include "trainer/text/splitters.h"

#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/text/regex.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

class Collector final : public PieceSink {
 public:
  void take(Piece piece) override { parts.emplace_back(piece.text); }
  std::vector<std::string> parts;
};

std::vector<std::string> by_regex(const std::string& pattern, const std::string& text) {
  std::vector<std::string> parts;
  size_t done = 0;
  Regex(pattern).for_each(text, [&](size_t begin, size_t end) {
    if (begin > done) {
      parts.push_back(text.substr(done, begin - done));
    }
    parts.push_back(text.substr(begin, end - begin));
    done = end;
  });
  if (done < text.size()) {
    parts.push_back(text.substr(done));
  }
  return parts;
}

std::string random_text(std::mt19937_64& random) {
  static const std::vector<std::string> kParts{
      " ",      " ",      "  ",     "\n",     "\r\n",   "\t",     "a",  "b",      "Z",
      "'",      "'s",     "'S",     "'ll",    "'Re",    "'ſ",     "ſ",  "é",      "e\u0301",
      "1",      "23",     "٣",      "½",      "Ⅳ",      ".",      "!!", "_",      "漢",
      "字",     "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "👩",  "\u200d", "\x01",
      "\u180e", "ǅ",      "ʰ",      "\v",     "/",      "\u0903"};
  std::string text;
  for (uint64_t i = 0, count = random() % 30; i < count; ++i) {
    if (random() % 20 == 0) {  // any of the plane on which both libraries' Unicode versions agree
      const auto c = static_cast<char32_t>(random() % 0x10000);
      append_utf8(text, c >= 0xD800 && c < 0xE000 ? U'x' : c);
    } else {
      text += kParts[random() % kParts.size()];
    }
  }
  return text;
}

class KnownSplitter : public testing::TestWithParam<const char*> {};

TEST_P(KnownSplitter, CutsRandomTextAsItsRegularExpression) {
  const std::string pattern = GetParam();
  const std::unique_ptr<PreTokenizer> splitter = make_known_splitter(pattern);
  ASSERT_NE(splitter, nullptr);
  std::mt19937_64 random(17);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(random);
    Collector found;
    splitter->split({text, true}, found);
    ASSERT_EQ(found.parts, by_regex(pattern, text)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         KnownSplitter,
                         testing::Values(kGpt2Pattern, kLlama3Pattern, kQwen2Pattern));

TEST(KnownSplitterTable, HasNoneForAnotherPattern) {
  EXPECT_EQ(make_known_splitter(R"(\w+)"), nullptr);
}

// One of each kind: a fraction of Latin-1 and one beyond, a letter in a circle, a Roman number, a
// joiner, a mark. Hugging Face's Whitespace splits by Rust's \w, its Split by Oniguruma's.
constexpr const char* kWordsAndNot = "a½b⅓cⒶdⅣe\u200df\u0301g";

TEST(Whitespace, KeepsTogetherWhatRustCallsAWord) {
  const PreTokenizerChain chain = make_pre_tokenizer({{"type", "Whitespace"}}, false);
  Collector found;
  chain.first->split({kWordsAndNot, true}, found);
  EXPECT_EQ(found.parts, (std::vector<std::string>{"a", "½", "b", "⅓", "cⒶdⅣe\u200df\u0301g"}));
}

TEST(Regex, KnowsTheWordCharactersOfOniguruma) {
  EXPECT_EQ(by_regex(R"(\w+)", kWordsAndNot),
            (std::vector<std::string>{"a½b", "⅓", "cⒶdⅣe", "\u200d", "f\u0301g"}));
  EXPECT_EQ(by_regex(R"([\w-]+|\W)", "a-½ ⅓"), (std::vector<std::string>{"a-½", " ", "⅓"}));
}

TEST(Regex, ReadsClassesWithinClassesAndPosixBracketsAsOnigurumaDoes) {
  EXPECT_EQ(by_regex(R"( ?[^(\s|[.,!])]+)", "a b[c]. (d"),
            (std::vector<std::string>{"a", " b[c]", ". (", "d"}));
  EXPECT_EQ(by_regex("[[:punct:]]|[[:alpha:]]+", "aⅣ€+👧b"),
            (std::vector<std::string>{"aⅣ", "€", "+", "👧", "b"}));
  EXPECT_THROW(Regex("[a[^b]]"), recipes::UserError);
  EXPECT_THROW(Regex("[a&&b]"), recipes::UserError);
}

TEST(Regex, KnowsLettersOfUnicode16) {
  EXPECT_EQ(by_regex(R"(\p{Lu}[^\p{L}]|\p{L})", "\u1C89-\u1C8A"),
            (std::vector<std::string>{"\u1C89-", "\u1C8A"}));
}

}  // namespace
}  // namespace sterna::text
