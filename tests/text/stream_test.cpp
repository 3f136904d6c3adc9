#include "trainer/text/stream.h"

#include <gtest/gtest.h>

#include "tests/support/tokenizers.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

const std::string kText =
    "The tern isn't tired: 12,345 km.\n\n  "
    "鳥は南へ飛ぶ。 👩‍👩‍👧‍👦🏽 "
    "naïve e\u0301 Птицы "
    " "
    "end ";

class StreamTest : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = open_tokenizer(tests::golden_tokenizers() / GetParam());
};

TEST_P(StreamTest, PartsAreCompleteCharactersAndAddUpToTheWholeText) {
  const std::vector<int32_t> ids = tokenizer_->encode(kText);
  StreamDecoder stream(*tokenizer_);
  std::string whole;
  int parts = 0;
  for (const int32_t id : ids) {
    const std::string part = stream.push(id);
    EXPECT_TRUE(is_utf8(part));
    EXPECT_EQ(part.find("\uFFFD"), std::string::npos) << part;
    parts += part.empty() ? 0 : 1;
    whole += part;
  }
  whole += stream.flush();
  EXPECT_EQ(whole, tokenizer_->decode(ids));
  EXPECT_GT(parts, 20);
  EXPECT_EQ(stream.flush(), "");
}

TEST_P(StreamTest, BytesThatNeverBecomeACharacterComeOutInTheEnd) {
  // The first byte of a three-byte character, then nothing.
  const int32_t open = tokenizer_->encode("鳥")[tokenizer_->encode("鳥").size() - 3];
  StreamDecoder stream(*tokenizer_);
  EXPECT_EQ(stream.push(open), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
}

TEST_P(StreamTest, AnEndlessRunOfBrokenBytesDoesNotStopTheStream) {
  const std::vector<int32_t> bird = tokenizer_->encode("鳥");
  StreamDecoder stream(*tokenizer_);
  std::string whole;
  for (int i = 0; i < 50; ++i) {
    whole += stream.push(bird[bird.size() - 3]);
  }
  EXPECT_GT(whole.size(), 100u);
}

TEST_P(StreamTest, WhatFollowsAShownTextIsWhatTheWholeTextHasBehindIt) {
  const std::vector<int32_t> ids = tokenizer_->encode(kText);
  const std::string whole = tokenizer_->decode(ids);
  int spaces = 0;
  for (size_t cut = 1; cut < ids.size(); ++cut) {
    const std::span shown = std::span(ids).first(cut);
    const std::string before = tokenizer_->decode(shown);
    if (before.ends_with("\uFFFD"))
      continue;
    StreamDecoder stream(*tokenizer_, shown);
    std::string given;
    for (const int32_t id : std::span(ids).subspan(cut))
      given += stream.push(id);
    EXPECT_EQ(before + given + stream.flush(), whole) << "behind " << before;
    spaces += given.starts_with(' ') ? 1 : 0;
  }
  EXPECT_GT(spaces, 5);
}

INSTANTIATE_TEST_SUITE_P(All,
                         StreamTest,
                         testing::Values("llama3.json", "gpt2.json", "fallback.json", "bpe.model"),
                         [](const auto& one) {
                           const std::string file = one.param;
                           return file.substr(0, file.find('.'));
                         });

}  // namespace
}  // namespace sterna::text
