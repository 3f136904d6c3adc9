// What is not supported or damaged is refused by name.
#include <cmath>
#include <fstream>
#include <functional>
#include <random>
#include <tuple>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "tests/io/gguf_builder.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/text/chat.h"
#include "trainer/text/gguf_pre.h"
#include "trainer/text/surround.h"

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

TEST_F(RefusalTest, NumbersThatDoNotFitAreRefusedNotCutOff) {
  const json strip = {{"type", "Strip"}, {"content", "x"}, {"start", 1e300}, {"stop", 0}};
  json changed = root_;
  changed["decoder"] = strip;
  EXPECT_NE(refusal(changed).find("\"start\" has an unexpected type"), std::string::npos)
      << refusal(changed);
  for (const json& id : {json(4294967296), json(-1), json(1e300), json(1000000), json("x")}) {
    changed = root_;
    changed["post_processor"] = {{"type", "BertProcessing"},
                                 {"cls", json::array({"a", id})},
                                 {"sep", json::array({"b", 0})}};
    EXPECT_NE(refusal(changed).find(id.dump()), std::string::npos) << refusal(changed);
  }
}

TEST_F(RefusalTest, WhereOneCharacterIsWantedAnythingElseIsRefused) {
  const std::tuple<const char*, const char*, const char*> keys[] = {
      {"decoder", "Metaspace", "replacement"},
      {"decoder", "Strip", "content"},
      {"pre_tokenizer", "Metaspace", "replacement"},
      {"pre_tokenizer", "CharDelimiterSplit", "delimiter"}};
  for (const auto& [part, type, key] : keys) {
    for (const char* wrong : {"", "ab", "鳥鳥"}) {
      json changed = root_;
      changed[part] = {{"type", type}, {key, wrong}};
      const std::string message = refusal(changed);
      EXPECT_NE(message.find(std::string(type) + "'s \"" + key), std::string::npos) << message;
      EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
    }
    json right = root_;
    right[part] = {{"type", type}, {key, "鳥"}};
    EXPECT_EQ(refusal(right), "");
  }
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

TEST_F(RefusalTest, AChatTemplateOfAnotherShapeIsRefusedWithItsFile) {
  const json wrong[] = {3,
                        json::array({3}),
                        json::array({{{"name", "default"}}}),
                        json::array({{{"name", 3}, {"template", "t"}}}),
                        {{"default", "t"}}};
  // SentencePiece's own reader of the side files, too.
  tests::TempFolder other;
  std::filesystem::copy_file(tests::golden_tokenizers() / "bpe.model", other / "tokenizer.model");
  for (const json& each : wrong) {
    const json config = {{"chat_template", each}};
    write("tokenizer_config.json", config);
    const std::string message = refusal(root_);
    EXPECT_NE(message.find("tokenizer_config.json: \"chat_template\""), std::string::npos) << each;
    EXPECT_EQ(message.find("tokenizer.json"), std::string::npos) << message;
    std::ofstream(other / "tokenizer_config.json") << config.dump();
    EXPECT_THROW(open_tokenizer(other), recipes::UserError) << each;
  }
}

/// Every place in `root`; of long lists and vocabularies the first two entries.
void collect(const json& root, const json::json_pointer& at, std::vector<json::json_pointer>& out) {
  out.push_back(at);
  int seen = 0;
  for (const auto& [key, value] : root.items()) {
    if (!root.is_structured() || (root.size() > 30 && ++seen > 2))
      break;
    collect(value, root.is_array() ? at / std::stoul(key) : at / key, out);
  }
}

/// Calls `check` with `root` changed at each of its places to something of every type.
void with_every_type(const json& root, const std::function<void(const json&)>& check) {
  std::vector<json::json_pointer> places;
  collect(root, json::json_pointer(), places);
  const json values[] = {
      nullptr, true, -1, 3, 1.5, 99999999999999, "", "x", json::array({3}), {{"a", 1}}};
  for (const json::json_pointer& place : places) {
    for (const json& value : values) {
      json changed = root;
      changed[place] = value;
      check(changed);
    }
    json changed = root;
    if (!place.empty() && changed[place.parent_pointer()].is_object()) {
      changed[place.parent_pointer()].erase(place.back());
      check(changed);
    }
  }
}

TEST_F(RefusalTest, AValueOfAnotherTypeAnywhereIsReadOrRefused) {
  const auto check = [&](const json& changed) {
    try {
      const auto tokenizer = open(changed.dump());
      const auto ids = tokenizer->encode("The tern's 12 eggs <|end|> 鳥");
      tokenizer->decode(ids);
      encode_surrounded(*tokenizer, "a", "b", 20);
    } catch (const recipes::UserError&) {
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what() << " from " << changed.dump().substr(0, 2000);
    }
  };
  for (const char* name : {"llama3.json", "metaspace.json", "added.json", "bert.json"}) {
    std::ifstream file(tests::golden_tokenizers() / name);
    with_every_type(json::parse(file), check);
  }
}

TEST_F(RefusalTest, AValueOfAnotherTypeInTheSideFilesIsReadOrRefused) {
  tests::TempFolder models;  // a folder without tokenizer.json
  std::filesystem::copy_file(tests::golden_tokenizers() / "bpe.model", models / "tokenizer.model");
  tests::TempFolder words;
  std::ofstream(words / "vocab.txt") << "[UNK]\n[CLS]\n[SEP]\nthe\ntern\n";
  write("tokenizer.json", root_);
  const std::pair<const char*, json> files[] = {
      {"tokenizer_config.json",
       {{"add_bos_token", true},
        {"bos_token", {{"content", "<s>"}}},
        {"eos_token", "<|end|>"},
        {"chat_template", {{{"name", "default"}, {"template", "x"}}}},
        {"added_tokens_decoder", {{"0", {{"content", "<s>"}, {"special", true}}}}},
        {"additional_special_tokens", {"<s>"}},
        {"tokenizer_class", "BertTokenizer"},
        {"do_lower_case", true},
        {"strip_accents", nullptr},
        {"tokenize_chinese_chars", true}}},
      {"special_tokens_map.json",
       {{"unk_token", {{"content", "[UNK]"}}}, {"additional_special_tokens", {"<s>"}}}},
      {"added_tokens.json", {{"<s>", 9}}},
      {"generation_config.json", {{"pad_token_id", {1, 2}}, {"eos_token_id", 1}}},
      {"config.json", {{"eos_token_id", 1}, {"model_type", "bert"}}}};
  for (const auto& [name, root] : files) {
    for (const tests::TempFolder* folder : {&folder_, &models, &words}) {
      with_every_type(root, [&, file = name](const json& changed) {
        std::ofstream(*folder / file) << changed.dump();
        try {
          const auto tokenizer = open_tokenizer(*folder);
          tokenizer->encode("the tern <s>");
          encode_surrounded(*tokenizer, "a", "b", 20);
        } catch (const recipes::UserError&) {
        } catch (const std::exception& error) {
          ADD_FAILURE() << error.what() << " from " << file << " " << changed;
        }
      });
      std::filesystem::remove(*folder / name);
    }
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
