// The files are turned into the tokenizer.json that transformers would make of them (its
// convert_slow_tokenizer.py), so that there is one reader.
#include "trainer/text/vocab_files.h"

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/io/sha256.h"
#include "trainer/text/splitters.h"
#include "trainer/text/tokenizer_json.h"

namespace sterna::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recipes::UserError;

json read_if_there(const fs::path& path) {
  return fs::exists(path) ? io::read_json(path) : json::object();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    const size_t next = end + 1;
    end -= end > begin && text[end - 1] == '\r' ? 1 : 0;
    lines.push_back(text.substr(begin, end - begin));
    begin = next;
  }
  return lines;
}

class VocabularyFiles {
 public:
  explicit VocabularyFiles(const fs::path& folder)
      : folder_(folder),
        config_(read_if_there(folder / "tokenizer_config.json")),
        map_(read_if_there(folder / "special_tokens_map.json")) {}

  std::unique_ptr<Tokenizer> open() {
    const bool bytes = fs::exists(folder_ / "vocab.json");
    json root = bytes ? byte_level() : word_piece();
    root["added_tokens"] = added(root["model"]["vocab"]);
    const std::string text = root.dump();
    return build_tokenizer(root,
                           io::sha256_hex(std::as_bytes(std::span(text))),
                           folder_ / (bytes ? "vocab.json" : "vocab.txt"));
  }

 private:
  /// "GPT2" for GPT2TokenizerFast, or by config.json's model_type.
  std::string kind(const std::string& fallback) const {
    std::string name = config_.value("tokenizer_class", "");
    for (const char* end : {"Fast", "Tokenizer"}) {
      if (name.ends_with(end))
        name.resize(name.size() - std::string_view(end).size());
    }
    if (!name.empty())
      return name;
    const std::string type = read_if_there(folder_ / "config.json").value("model_type", "");
    const std::pair<const char*, const char*> kKinds[] = {{"", fallback.c_str()},
                                                          {"gpt2", "GPT2"},
                                                          {"opt", "GPT2"},
                                                          {"roberta", "Roberta"},
                                                          {"bart", "Roberta"},
                                                          {"qwen2", "Qwen2"},
                                                          {"qwen3", "Qwen2"},
                                                          {"bert", "Bert"}};
    for (const auto& [model, found] : kKinds) {
      if (type == model)
        return found;
    }
    return type;
  }

  [[noreturn]] void refuse_kind(const std::string& name) const {
    throw UserError(folder_.string() + ": the tokenizer kind '" + name +
                    "' cannot be read from its vocabulary files; save it with transformers as "
                    "tokenizer.json");
  }

  /// transformers takes the first line of GPT-2's kind for a header, whatever it says, and a last
  /// one without a line end for none; of Qwen's it looks.
  json merges(bool header) const {
    const fs::path file = folder_ / "merges.txt";
    const std::string text = io::read_text(file);
    std::vector<std::string> lines = lines_of(text);
    if (header && !text.ends_with('\n') && !lines.empty())
      lines.pop_back();
    json list = json::array();
    for (size_t i = header ? 1 : 0; i < lines.size(); ++i) {
      if ((i == 0 && lines[i].starts_with("#version:")) || lines[i].empty())
        continue;
      const size_t space = lines[i].find(' ');
      if (space == 0 || space == std::string::npos || space + 1 >= lines[i].size() ||
          lines[i].find(' ', space + 1) != std::string::npos) {
        throw UserError(file.string() + ":" + std::to_string(i + 1) +
                        ": expected two pieces with a space between them, found \"" + lines[i] +
                        "\"");
      }
      list.push_back(json::array({lines[i].substr(0, space), lines[i].substr(space + 1)}));
    }
    return list;
  }

  json byte_level() const {
    const std::string name = kind("GPT2");
    const bool roberta = name == "Roberta" || name == "Bart" || name == "Longformer";
    if (name != "GPT2" && name != "Qwen2" && !roberta)
      refuse_kind(name);
    json level = {{"type", "ByteLevel"},
                  {"add_prefix_space", config_.value("add_prefix_space", false)},
                  {"use_regex", true}};
    json root = {{"decoder", {{"type", "ByteLevel"}}}};
    root["model"] = {{"type", "BPE"},
                     {"vocab", io::read_json(folder_ / "vocab.json")},
                     {"merges", merges(name != "Qwen2")}};
    if (name == "Qwen2") {
      level["use_regex"] = false;
      const json split = {
          {"type", "Split"}, {"pattern", {{"Regex", kQwen2Pattern}}}, {"behavior", "Isolated"}};
      root["normalizer"] = {{"type", "NFC"}};
      level = {{"type", "Sequence"}, {"pretokenizers", {split, level}}};
    }
    root["pre_tokenizer"] = level;
    if (roberta)
      root["post_processor"] = framed("RobertaProcessing", root["model"]["vocab"], "<s>", "</s>");
    return root;
  }

  json word_piece() const {
    if (const std::string name = kind("Bert"); name != "Bert")
      refuse_kind(name);
    json vocabulary = json::object();
    for (const std::string& piece : lines_of(io::read_text(folder_ / "vocab.txt")))
      vocabulary.emplace(piece, vocabulary.size());
    const bool lower = config_.value("do_lower_case", true);
    json root = {{"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                 {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}}};
    root["normalizer"] = {
        {"type", "BertNormalizer"},
        {"handle_chinese_chars", config_.value("tokenize_chinese_chars", true)},
        {"strip_accents", config_.contains("strip_accents") ? config_["strip_accents"] : json()},
        {"lowercase", lower}};
    root["post_processor"] = framed("BertProcessing", vocabulary, "[CLS]", "[SEP]");
    root["model"] = {{"type", "WordPiece"}, {"vocab", std::move(vocabulary)}};
    return root;
  }

  /// A post-processor that puts `first` and `last` around a text, where the vocabulary has both.
  static json framed(const char* type,
                     const json& vocabulary,
                     const char* first,
                     const char* last) {
    if (!vocabulary.contains(first) || !vocabulary.contains(last))
      return nullptr;
    return {{"type", type},
            {"cls", {first, vocabulary.at(first)}},
            {"sep", {last, vocabulary.at(last)}}};
  }

  /// Special and added tokens, each once; those of tokenizer_config.json know most about
  /// themselves.
  json added(const json& vocabulary) const {
    json found = json::object();  // by content
    const auto add = [&](const json& token, const json& id, bool special) {
      const std::string content = token.is_string()   ? token.get<std::string>()
                                  : token.is_object() ? token.value("content", "")
                                                      : "";
      if (content.empty() || id.is_null() || found.contains(content))
        return;
      json one = token.is_object() ? token : json::object();
      one["content"] = content;
      one["id"] = id;
      one["special"] = special;
      one.emplace("normalized", !special);
      found[content] = std::move(one);
    };
    const auto id_of = [&](const std::string& content) {
      return vocabulary.contains(content) ? vocabulary.at(content) : json();
    };
    const json decoder = config_.value("added_tokens_decoder", json::object());
    for (const auto& [id, token] : decoder.items())
      add(token, json::parse(id), token.value("special", false));
    const json later = read_if_there(folder_ / "added_tokens.json");
    for (const json& token : special_tokens()) {
      const std::string content =
          token.is_object() ? token.value("content", "") : token.get<std::string>();
      add(token, later.contains(content) ? later.at(content) : id_of(content), true);
    }
    for (const auto& [content, id] : later.items())
      add(content, id, false);
    json list = json::array();
    for (const auto& [content, token] : found.items())
      list.push_back(token);
    return list;
  }

  /// Texts or objects, as the side files name them; what GPT-2 and BERT call theirs if none do.
  std::vector<json> special_tokens() const {
    std::vector<json> named;
    for (const json* source : {&map_, &config_}) {
      for (const auto& [key, value] : source->items()) {
        if (key.ends_with("_token") && (value.is_string() || value.is_object()))
          named.push_back(value);
      }
      for (const json& each : source->value("additional_special_tokens", json::array()))
        named.push_back(each);
    }
    if (named.empty())
      named = {"<|endoftext|>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    return named;
  }

  fs::path folder_;
  json config_;
  json map_;
};

}  // namespace

bool has_vocabulary_files(const fs::path& folder) {
  return fs::exists(folder / "vocab.txt") ||
         (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"));
}

std::unique_ptr<Tokenizer> open_vocabulary_files(const fs::path& folder) {
  try {
    return VocabularyFiles(folder).open();
  } catch (const json::exception& error) {
    throw UserError(folder.string() +
                    ": the tokenizer's files are not as expected: " + error.what());
  }
}

}  // namespace sterna::text
