// What is not supported or damaged is refused by name.
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/text/chat.h"
#include "trainer/text/gguf_pre.h"

namespace sterna::text {
namespace {

using nlohmann::json;

class RefusalTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(tests::golden_tokenizers() / "llama3.json");
    root_ = json::parse(file);
  }

  std::unique_ptr<Tokenizer> open(const std::string& text) const {
    std::ofstream(folder_ / "tokenizer.json", std::ios::binary) << text;
    return open_tokenizer(folder_);
  }

  /// The message with which a changed file is refused.
  std::string refusal(const json& root) const {
    try {
      open(root.dump());
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return "";
  }

  void write(const std::string& name, const json& root) const {
    std::ofstream(folder_ / name) << root.dump();
  }

  tests::TempFolder folder_;
  json root_;
};

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
