// What the formats of [data] make of their files: ids, and which of them carry loss.
#include <algorithm>

#include "tests/data/fixture.h"

namespace sterna::data {
namespace {

// Special tokens of llama3.json: <|end|> is 0, <s> is 1.
constexpr const char* kTemplate =
    "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '<|end|>\n' }}{% endfor "
    "%}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

class FormatsTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    tokenizer_->template_ = kTemplate;
  }

  /// The only sample of a short text, as `sterna check --samples` shows it; fillers are left out.
  std::string shown(const std::string& keys, int64_t seq_len = 200) const {
    Sample sample = open(keys, seq_len)->at(0);
    const auto filler = std::find(sample.documents.begin(), sample.documents.end(), 1);
    const auto count = static_cast<size_t>(filler - sample.documents.begin());
    sample.ids.resize(count);
    sample.documents.resize(count);
    sample.loss.resize(count - 1);
    return show_sample(sample, *inner_);
  }
};

TEST_F(FormatsTest, OfAChatOnlyTheAssistantsWordsAndTheirEndCarryLoss) {
  write("t", R"({"messages": [{"role": "system", "content": "Be brief."},
{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "South."},
{"role": "user", "content": "When?"}, {"role": "assistant", "content": "Now."}]})");
  std::string text = read_bytes(folder_ / "t");
  std::replace(text.begin(), text.end(), '\n', ' ');
  write("t", text);
  EXPECT_EQ(shown("format = 'chat'"),
            "[[<s>system: Be brief.<|end|>\nuser: Where?<|end|>\nassistant: ]]South.<|end|>"
            "[[\nuser: When?<|end|>\nassistant: ]]Now.<|end|>[[\n]]");
}

TEST_F(FormatsTest, IdsOfAChatAreThoseOfItsWholeText) {
  write("t",
        R"({"talk": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  const Sample sample = open("format = 'chat'\nfield = 'talk'", 40)->at(0);
  std::vector<int32_t> expected = inner_->encode("<s>user: a<|end|>\nassistant: b<|end|>\n");
  expected.resize(41, 0);
  EXPECT_EQ(sample.ids, expected);
}

TEST_F(FormatsTest, ATemplateThatWritesTheLastTurnOtherwiseStillShowsItsEnd) {
  tokenizer_->template_ =
      "{% for m in messages %}{{ m.role + ': ' }}{% if loop.last and m.role == 'assistant' %}"
      "{{ '(think) ' }}{% endif %}{{ m.content + '<|end|>' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
  write("t",
        R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, )"
        R"({"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})");
  // " b" is one token, which belongs to the answer.
  EXPECT_EQ(shown("format = 'chat'"),
            "[[user: a<|end|>assistant:]] b<|end|>[[user: c<|end|>assistant: ]](think) d<|end|>");
}

TEST_F(FormatsTest, ATemplateThatRewritesWhatItAskedIsRefusedWithTheLine) {
  tokenizer_->template_ =
      "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}";
  write(
      "t",
      "\n"
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  try {
    open("format = 'chat'", 40);
    FAIL();
  } catch (const recipes::UserError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("/t:2: "), std::string::npos) << what;
    EXPECT_NE(what.find("template"), std::string::npos) << what;
  }
  tokenizer_->template_.clear();
  EXPECT_THROW(open("format = 'chat'", 40), recipes::UserError);
}

TEST_F(FormatsTest, ChatsThatAreNoneAreNamed) {
  for (const char* line : {R"({"messages": []})",
                           R"({"messages": [{"role": "user"}]})",
                           R"({"messages": ["hello"]})",
                           R"({"text": "hello"})"}) {
    write("t", line);
    EXPECT_THROW(open("format = 'chat'", 40), recipes::UserError) << line;
  }
}

TEST_F(FormatsTest, OfAPairTheResponseAndTheEndTokenCarryLoss) {
  write("t", R"({"q": "2+2=", "a": " 4"})");
  const std::string keys = "format = 'pairs'\nprompt = 'q'\nresponse = 'a'\n";
  EXPECT_EQ(shown(keys), "[[2+2=]] 4<|end|>");
  EXPECT_EQ(shown(keys + "bos = 'document'"), "[[<s>2+2=]] 4<|end|>");
  EXPECT_EQ(shown(keys + "turns = 'chat'"), "[[<s>user: 2+2=<|end|>\nassistant: ]] 4<|end|>[[\n]]");
  EXPECT_THROW(open("format = 'pairs'"), recipes::UserError);
}

TEST_F(FormatsTest, TokensAreTakenAsTheyAreAndCutBehindEndTokens) {
  const std::vector<int32_t> ids = {70, 71, 0, 72, 73, 74, 0};
  std::string narrow, wide;
  for (const int32_t id : ids) {
    narrow += {static_cast<char>(id), '\0'};
    wide += {static_cast<char>(id), '\0', '\0', '\0'};
  }
  write("t", narrow);
  const Sample sample = open("format = 'tokens'\nshuffle = false\ndocument_mask = 'on'", 6)->at(0);
  EXPECT_EQ(sample.ids, ids);
  EXPECT_EQ(sample.documents, (std::vector<int32_t>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(sample.loss, (std::vector<uint8_t>{1, 1, 0, 1, 1, 1}));
  write("t", wide);
  EXPECT_EQ(open("format = 'tokens'\ndtype = 'uint32'\nshuffle = false", 6)->at(0).ids, ids);
  const std::string unmarked = "format = 'tokens'\ndtype = 'uint32'\nend = 'none'\n";
  EXPECT_EQ(open(unmarked + "document_mask = 'on'", 6)->at(0).documents,
            std::vector<int32_t>(6, 0));
}

TEST_F(FormatsTest, TokensOfAnotherVocabularyOrWidthAreNamed) {
  write("t", std::string("\x46\0\xFF\xFF", 4));
  try {
    open("format = 'tokens'", 1);
    FAIL();
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("65535 at token 1"), std::string::npos)
        << error.what();
  }
  write("t", "abc");
  EXPECT_THROW(open("format = 'tokens'", 1), recipes::UserError);
}

}  // namespace
}  // namespace sterna::data
