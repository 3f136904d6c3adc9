#include <array>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/export/side_files.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/gguf.h"
#include "trainer/io/json.h"
#include "trainer/text/gguf_pre.h"
#include "trainer/text/tokenizer_json.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array<const char*, 10> kTokenizerFiles = {"tokenizer.json",
                                                         "tokenizer.model",
                                                         "tokenizer_config.json",
                                                         "special_tokens_map.json",
                                                         "added_tokens.json",
                                                         "chat_template.jinja",
                                                         "chat_template.json",
                                                         "vocab.json",
                                                         "vocab.txt",
                                                         "merges.txt"};

// tokenizer.ggml.token_type
constexpr int64_t kUnknown = 2;
constexpr int64_t kControl = 3;
constexpr int64_t kUserDefined = 4;

/// A byte-level BPE in GGUF metadata, respelled as Hugging Face files.
class GgufTokenizer {
 public:
  explicit GgufTokenizer(const fs::path& path)
      : file_(io::open_gguf(path)), tokens_(file_->texts("tokenizer.ggml.tokens")) {
    const std::string& model = file_->text("tokenizer.ggml.model");
    if (model != "gpt2")
      throw recipes::UserError(path.string() + ": its tokenizer is of the kind '" + model +
                               "'; only byte-level BPE (gpt2) can be written as tokenizer.json. "
                               "Export from the Hugging Face folder instead");
    pre_ = text::gguf_pre(file_->text("tokenizer.ggml.pre"));
    types_ = file_->has("tokenizer.ggml.token_type") ? file_->integers("tokenizer.ggml.token_type")
                                                     : std::vector<int64_t>(tokens_.size(), 1);
    if (types_.size() != tokens_.size())
      throw recipes::UserError(path.string() + ": tokens and token types differ in number");
  }

  json tokenizer_json() const {
    json added = json::array();
    json vocab = json::object();
    for (size_t id = 0; id < tokens_.size(); ++id) {
      vocab[tokens_[id]] = id;
      if (is_added(id)) {
        json token = added_token(id);
        token["id"] = id;
        added.push_back(std::move(token));
      }
    }
    json merges = json::array();
    for (const std::string& merge : file_->texts("tokenizer.ggml.merges")) {
      const auto [left, right] = text::split_merge(merge);
      merges.push_back({left, right});
    }
    const json decoder = {{"type", "ByteLevel"},
                          {"add_prefix_space", true},
                          {"trim_offsets", true},
                          {"use_regex", true}};
    return {{"version", "1.0"},
            {"truncation", nullptr},
            {"padding", nullptr},
            {"added_tokens", added},
            {"normalizer", nullptr},
            {"pre_tokenizer", with_offsets(pre_.pre_tokenizer)},
            {"post_processor", post_processor()},
            {"decoder", decoder},
            {"model", model_json(std::move(vocab), std::move(merges))}};
  }

  json tokenizer_config() const {
    json decoder = json::object();
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (is_added(id))
        decoder[std::to_string(id)] = added_token(id);
    }
    json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                   {"added_tokens_decoder", decoder},
                   {"add_bos_token", add_bos()},
                   {"clean_up_tokenization_spaces", false}};
    const std::string context = file_->text("general.architecture") + ".context_length";
    if (file_->has(context))
      config["model_max_length"] = file_->integer(context);
    for (const auto& [key, role] : {std::pair("bos_token_id", "bos_token"),
                                    std::pair("eos_token_id", "eos_token"),
                                    std::pair("unknown_token_id", "unk_token"),
                                    std::pair("padding_token_id", "pad_token")}) {
      if (file_->has(kPrefix + key))
        config[role] = tokens_.at(static_cast<size_t>(file_->integer(kPrefix + key)));
    }
    if (file_->has("tokenizer.chat_template"))
      config["chat_template"] = file_->text("tokenizer.chat_template");
    return config;
  }

 private:
  static inline const std::string kPrefix = "tokenizer.ggml.";

  bool is_added(size_t id) const {
    return types_[id] == kControl || types_[id] == kUserDefined || types_[id] == kUnknown;
  }

  json added_token(size_t id) const {
    return {{"content", tokens_[id]},
            {"single_word", false},
            {"lstrip", false},
            {"rstrip", false},
            {"normalized", false},
            {"special", types_[id] != kUserDefined}};
  }

  // tokenizers wants the field spelled out; it moves offsets only.
  static json with_offsets(json pre) {
    if (pre.value("type", "") == "ByteLevel")
      pre["trim_offsets"] = true;
    if (pre.contains("pretokenizers")) {
      for (json& part : pre["pretokenizers"])
        part = with_offsets(part);
    }
    if (pre.value("type", "") == "Split" && !pre.contains("invert"))
      pre["invert"] = false;
    return pre;
  }

  bool add_bos() const {
    return file_->has("tokenizer.ggml.add_bos_token")
               ? file_->boolean("tokenizer.ggml.add_bos_token")
               : pre_.add_bos;
  }

  json post_processor() const {
    if (!add_bos() || !file_->has("tokenizer.ggml.bos_token_id"))
      return nullptr;
    const int64_t id = file_->integer("tokenizer.ggml.bos_token_id");
    if (id < 0 || id >= static_cast<int64_t>(tokens_.size()))
      throw recipes::UserError(file_->path().string() + ": tokenizer.ggml.bos_token_id is " +
                               std::to_string(id) + ", but there are " +
                               std::to_string(tokens_.size()) + " tokens");
    const std::string& bos = tokens_[static_cast<size_t>(id)];
    const json start = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
    const auto sequence = [](const char* which, int type) {
      return json{{"Sequence", {{"id", which}, {"type_id", type}}}};
    };
    const json special = {{bos, {{"id", bos}, {"ids", {id}}, {"tokens", {bos}}}}};
    return {{"type", "TemplateProcessing"},
            {"single", {start, sequence("A", 0)}},
            {"pair", {start, sequence("A", 0), start, sequence("B", 1)}},
            {"special_tokens", special}};
  }

  json model_json(json vocab, json merges) const {
    return {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", pre_.ignore_merges},
            {"vocab", std::move(vocab)},
            {"merges", std::move(merges)}};
  }

  std::unique_ptr<io::Gguf> file_;
  const std::vector<std::string>& tokens_;
  std::vector<int64_t> types_;
  text::GgufPre pre_;
};

/// A damaged file is not handed on: nobody would look for the fault here.
void require_sound(const fs::path& file) {
  std::error_code unknown;  // copying says why a file cannot be read
  const auto bytes = fs::file_size(file, unknown);
  if (unknown)
    return;
  if (bytes == 0)
    throw recipes::UserError(file.string() + ": the file is empty; fetch it again or remove it");
  if (file.extension() == ".json")
    io::read_json(file);
}

void copy_into(const fs::path& from, const fs::path& folder) {
  require_sound(from);
  std::error_code error;
  fs::copy_file(from, folder / from.filename(), error);
  if (error)
    throw recipes::UserError(from.string() + ": cannot be copied (" + error.message() +
                             "); check permissions and free space");
}

}  // namespace

void write_tokenizer(const fs::path& from, const fs::path& folder) {
  if (fs::is_directory(from)) {
    for (const char* name : kTokenizerFiles) {
      if (fs::exists(from / name))
        copy_into(from / name, folder);
    }
    return;
  }
  if (!io::is_gguf(from))
    return copy_into(from, folder);
  const GgufTokenizer tokenizer(from);
  io::write_atomically(folder / "tokenizer.json", tokenizer.tokenizer_json().dump() + "\n");
  io::write_atomically(folder / "tokenizer_config.json",
                       tokenizer.tokenizer_config().dump(2) + "\n");
}

}  // namespace sterna::exporter
