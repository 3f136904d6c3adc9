// What is not supported or damaged is refused by name.
#include "tests/text/refusal.h"

#include <cmath>
#include <random>

#include "tests/io/gguf_builder.h"
#include "trainer/text/chat.h"
#include "trainer/text/gguf_pre.h"

namespace sterna::text {
namespace {

using nlohmann::json;

TEST_F(RefusalTest, UnknownComponentsAreNamed) {
  const std::pair<const char*, const char*> parts[] = {{"normalizer", "Precompiled"},
                                                       {"pre_tokenizer", "UnicodeScripts"},
                                                       {"decoder", "CTC"},
                                                       {"model", "Unigram"},
                                                       {"post_processor", "Mystery"}};
  for (const auto& [part, type] : parts) {
    json changed = root_;
    changed[part] = {{"type", type}};
    EXPECT_NE(refusal(changed).find(type), std::string::npos) << part << ": " << refusal(changed);
  }
}

TEST_F(RefusalTest, BrokenContentsSayWhatIsWrong) {
  json changed = root_;
  changed["model"]["merges"].push_back("zzz yyy");
  EXPECT_NE(refusal(changed).find("zzz"), std::string::npos) << refusal(changed);
  changed = root_;
  changed["model"]["vocab"]["extra"] = -5;
  EXPECT_NE(refusal(changed).find("extra"), std::string::npos) << refusal(changed);
  changed = root_;
  changed["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", "(a"}};
  EXPECT_NE(refusal(changed).find("(a"), std::string::npos) << refusal(changed);
  changed = root_;
  changed.erase("model");
  EXPECT_NE(refusal(changed), "");
  changed = root_;
  changed["model"]["dropout"] = 0.1;
  EXPECT_NE(refusal(changed).find("dropout"), std::string::npos);
}

// 512 MiB for a file of 1 KiB.
TEST_F(RefusalTest, IdsFarBeyondTheNumberOfPiecesAreRefused) {
  json changed = root_;
  changed["model"]["vocab"]["far"] = 16777215;
  EXPECT_NE(refusal(changed).find("the id of \"far\" is 16777215"), std::string::npos)
      << refusal(changed);
  changed = root_;
  changed["added_tokens"][0]["id"] = 16777215;
  EXPECT_NE(refusal(changed).find("is 16777215"), std::string::npos) << refusal(changed);
  changed["added_tokens"][0]["id"] = 4294967296;
  EXPECT_NE(refusal(changed).find("is 4294967296"), std::string::npos) << refusal(changed);
  changed = root_;
  changed["model"]["vocab"]["gap"] = 5000;
  EXPECT_EQ(refusal(changed), "") << "a vocabulary may have gaps";
}

TEST_F(RefusalTest, AnEmptySuffixOfTheBpeDecoderIsReadAsHuggingFaceReadsIt) {
  json changed = root_;
  changed["decoder"] = {{"type", "BPEDecoder"}, {"suffix", ""}};
  const auto id = [&](const char* piece) -> int32_t { return root_["model"]["vocab"][piece]; };
  EXPECT_EQ(open(changed.dump())->decode(std::vector<int32_t>{id("&"), id("é"), id("(")}),
            " &  é (");
}

TEST_F(RefusalTest, AnExpressionThatBacktracksTooMuchIsNamed) {
  json changed = root_;
  changed["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}};
  const auto tokenizer = open(changed.dump());
  try {
    tokenizer->encode(std::string(40, 'a') + "b");
    ADD_FAILURE() << "was matched";
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("(a+)+$"), std::string::npos) << error.what();
  }
}

TEST_F(RefusalTest, RandomMutationsOfAFileNeverCrash) {
  const std::string whole = root_.dump();
  std::mt19937_64 random(9);
  for (int round = 0; round < 300; ++round) {
    std::string text = whole;
    for (uint64_t i = 0, count = 1 + random() % 4; i < count; ++i) {
      text[random() % text.size()] = static_cast<char>(random() % 128);
    }
    if (random() % 8 == 0) {
      text.resize(random() % text.size());
    }
    try {
      open(text)->encode("The tern's 12 eggs <|end|>");
    } catch (const recipes::UserError&) {
    }
  }
}

TEST_F(RefusalTest, FolderWithoutATokenizerIsNamed) {
  EXPECT_THROW(open_tokenizer(folder_), recipes::UserError);
  EXPECT_THROW(open_tokenizer(folder_ / "absent"), recipes::UserError);
  std::ofstream(folder_ / "x.model") << "no model";
  EXPECT_THROW(open_tokenizer(folder_ / "x.model"), recipes::UserError);
}

TEST_F(RefusalTest, SideFilesGiveSpecialTokensAndTemplate) {
  EXPECT_EQ(open(root_.dump())->special().bos, 1);  // the post-processor's
  EXPECT_TRUE(open(root_.dump())->special().add_bos);
  write("tokenizer_config.json",
        {{"add_bos_token", false},
         {"eos_token", {{"content", "<|end|>"}}},
         {"chat_template",
          {{{"name", "tool_use"}, {"template", "t"}}, {{"name", "default"}, {"template", "d"}}}}});
  write("special_tokens_map.json", {{"unk_token", "<s>"}});
  write("generation_config.json", {{"pad_token_id", json::array({7, 8})}, {"eos_token_id", 9}});
  const auto tokenizer = open(root_.dump());
  EXPECT_FALSE(tokenizer->special().add_bos);
  EXPECT_EQ(tokenizer->special().eos, 0);
  EXPECT_EQ(tokenizer->special().unk, 1);
  EXPECT_EQ(tokenizer->special().pad, 7);
  EXPECT_EQ(tokenizer->chat_template(), "d");
  std::ofstream(folder_ / "chat_template.jinja") << "j";
  EXPECT_EQ(open(root_.dump())->chat_template(), "j");
}

class GgufTokenizer : public testing::Test {
 protected:
  /// What is said of a SentencePiece vocabulary of four pieces with this score and unknown token.
  std::string refusal(float score, int64_t unknown) const {
    using tests::raw;
    tests::GgufBuilder file;
    file.text("tokenizer.ggml.model", "llama");
    file.pair("tokenizer.ggml.tokens",
              9,
              raw(uint32_t{8}) + raw(uint64_t{4}) + tests::gguf_string("<unk>") +
                  tests::gguf_string("a") + tests::gguf_string("b") + tests::gguf_string("ab"));
    file.pair("tokenizer.ggml.scores",
              9,
              raw(uint32_t{6}) + raw(uint64_t{4}) + raw(0.F) + raw(score) + raw(-2.F) + raw(-1.F));
    file.pair("tokenizer.ggml.unknown_token_id", 11, raw(unknown));
    std::ofstream(folder_ / "x.gguf", std::ios::binary) << file.build();
    try {
      open_tokenizer(folder_ / "x.gguf")->encode("ab");
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return "";
  }

  tests::TempFolder folder_;
};

// Sorting by NaN reads behind the array.
TEST_F(GgufTokenizer, ScoresThatAreNoNumbersAreRefused) {
  EXPECT_EQ(refusal(-1, 0), "");
  EXPECT_NE(refusal(std::nanf(""), 0).find("holds NaN or Inf"), std::string::npos);
}

TEST_F(GgufTokenizer, SpecialTokensBeyondTheVocabularyAreRefusedWithBothNumbers) {
  EXPECT_NE(refusal(-1, 4).find("is 4, but the vocabulary has 4 pieces"), std::string::npos);
  EXPECT_NE(refusal(-1, int64_t{1} << 32).find("is 4294967296"), std::string::npos);
  EXPECT_EQ(refusal(-1, 4294967295), "") << "so some converters say that there is none";
}

TEST(GgufPreTokenizer, UnknownNameIsRefused) {
  EXPECT_NO_THROW(gguf_pre("smollm"));
  EXPECT_THROW(gguf_pre("next-big-thing"), recipes::UserError);
}

TEST(ChatRefusal, NamesTheConstructWithLineAndColumn) {
  const std::pair<const char*, const char*> wrong[] = {
      {"{% macro f() %}{% endmacro %}", "macro"},
      {"a\n{{ x | frobnicate }}", "2:6: the filter 'frobnicate'"},
      {"{{ messages.pop() }}", "pop"},
      {"{% if x is prime %}{% endif %}", "prime"},
      {"{{ open('f') }}", "open"},
      {"{% for m in messages %}", "endfor"},
      {"{{ 'abc }}", "not closed"},
      {"{{ (1 }}", "not closed"},
      {"{{ 1 < 2 < 3 }}", "chain"},
      {"{% endif %}", "endif"},
      {"{{ 1 + 'a' }}", "'+'"},
      {"{{ missing.field }}", "undefined"},
      {"{{ messages }}", "tojson"},
      {"{{ 9223372036854775807 * 2 }}", "too large"},
      {"{{ 1 // 0 }}", "zero"},
  };
  for (const auto& [source, part] : wrong) {
    try {
      render_chat(source, {}, {}, false);
      ADD_FAILURE() << source << " was accepted";
    } catch (const recipes::UserError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

TEST(ChatRefusal, HostileNestingIsRefusedBeforeTheStackEnds) {
  for (const char* part : {"(", "[", "not ", "-", "{% if 1 %}", "{{ a[", "1 if 1 else ", "1 + "}) {
    std::string source = part[0] == '{' ? "" : "{{ ";
    for (int i = 0; i < 100000; ++i) {
      source += part;
    }
    EXPECT_THROW(render_chat(source, {}, {}, false), recipes::UserError) << part;
  }
}

}  // namespace
}  // namespace sterna::text
