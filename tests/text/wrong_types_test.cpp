// A value of another type or shape than the format has is read or refused, wherever it stands.
#include <functional>
#include <tuple>

#include "tests/text/refusal.h"
#include "trainer/text/surround.h"

namespace sterna::text {
namespace {

using nlohmann::json;

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

}  // namespace
}  // namespace sterna::text
