// Tokenizers as llama.cpp knows them: "gpt2", byte-level BPE whose pre-tokenizer has a name there,
// and "llama", SentencePiece's BPE by scores.
#include <algorithm>
#include <array>
#include <map>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/export/gguf_metadata.h"
#include "trainer/io/gguf.h"
#include "trainer/io/json.h"
#include "trainer/text/gguf_pre.h"
#include "trainer/text/tokenizer.h"
#include "trainer/text/tokenizer_json.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// tokenizer.ggml.token_type
enum TokenType : int32_t {
  kPlainToken = 1,
  kUnknownToken = 2,
  kControlToken = 3,
  kUserToken = 4,
  kUnusedToken = 5,
  kByteToken = 6
};

constexpr std::array<const char*, 6> kPreNames = {
    "gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2", "tekken"};
const std::string kTokenizerKey = "tokenizer.ggml.";

[[noreturn]] void refuse_tokenizer(const fs::path& path, const std::string& what) {
  throw recipes::UserError(path.string() + ": format gguf: " + what +
                           "; llama.cpp would cut text otherwise than training did. Export the "
                           "model as \"dense\" or \"sterna\"");
}

/// What decides where text is cut, spelled in one way.
json canonical_pre(json spec) {
  if (!spec.is_object())
    return spec;
  spec.erase("trim_offsets");
  if (!spec.value("invert", false))
    spec.erase("invert");
  if (spec.value("type", "") == "ByteLevel" && !spec.contains("use_regex"))
    spec["use_regex"] = true;
  if (spec.contains("pretokenizers"))
    for (json& part : spec["pretokenizers"])
      part = canonical_pre(part);
  return spec;
}

/// The vocabulary's arrays.
struct GgufPieces {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;

  void set(int64_t id, const std::string& token, TokenType type) {
    if (id < 0 || id >= static_cast<int64_t>(tokens.size()))
      throw recipes::UserError("format gguf: the token '" + token + "' has the id " +
                               std::to_string(id) + ", beyond the " +
                               std::to_string(tokens.size()) + " rows of the embedding");
    tokens[static_cast<size_t>(id)] = token;
    types[static_cast<size_t>(id)] = type;
  }
};

/// A tokenizer.json.
class JsonVocabulary {
 public:
  JsonVocabulary(const fs::path& path, int64_t rows)
      : path_(path), root_(io::read_json(path)), model_(root_.at("model")) {
    for (int64_t id = 0; id < rows; ++id) {
      pieces_.tokens.push_back("[PAD" + std::to_string(id) + "]");
      pieces_.types.push_back(kUnusedToken);
    }
    bytes_ = model_.value("byte_fallback", false);
    for (const auto& [piece, id] : model_.at("vocab").items())
      pieces_.set(id.get<int64_t>(), piece, type_of(piece));
    for (const json& added : root_.value("added_tokens", json::array())) {
      const auto content = added.at("content").get<std::string>();
      pieces_.set(added.at("id").get<int64_t>(),
                  content,
                  is_unknown(content)             ? kUnknownToken
                  : added.value("special", false) ? kControlToken
                                                  : kUserToken);
    }
    for (const json& merge : model_.value("merges", json::array()))
      merges_.push_back(merge.is_array() ? std::pair(merge.at(0).get<std::string>(),
                                                     merge.at(1).get<std::string>())
                                         : text::split_merge(merge.get<std::string>()));
  }

  void write(io::GgufStream& out) const {
    if (model_.value("type", "BPE") != "BPE")
      refuse_tokenizer(path_, "its model '" + model_.value("type", "") + "' is no byte-pair one");
    if (bytes_)
      write_by_scores(out);
    else
      write_by_merges(out);
    out.texts(kTokenizerKey + "tokens", pieces_.tokens);
    out.i32s(kTokenizerKey + "token_type", pieces_.types);
  }

 private:
  bool is_unknown(const std::string& piece) const {
    return bytes_ && model_.contains("unk_token") && model_.at("unk_token") == piece;
  }

  TokenType type_of(const std::string& piece) const {
    const bool byte =
        bytes_ && piece.size() == 6 && piece.starts_with("<0x") && piece.back() == '>';
    return byte ? kByteToken : is_unknown(piece) ? kUnknownToken : kPlainToken;
  }

  void write_by_merges(io::GgufStream& out) const {
    const json pre = canonical_pre(root_.value("pre_tokenizer", json()));
    const bool ignore_merges = model_.value("ignore_merges", false);
    const auto* name = std::find_if(kPreNames.begin(), kPreNames.end(), [&](const char* each) {
      const text::GgufPre known = text::gguf_pre(each);
      return canonical_pre(known.pre_tokenizer) == pre && known.ignore_merges == ignore_merges;
    });
    if (name == kPreNames.end())
      refuse_tokenizer(path_, "its pre-tokenizer has no name in GGUF (" + pre.dump() + ")");
    const json normalizer = root_.value("normalizer", json());
    // Qwen's files say NFC, and llama.cpp takes text as it comes: the same for text that is NFC.
    const bool nfc = normalizer.is_object() && normalizer.value("type", "") == "NFC";
    if (!normalizer.is_null() && !(nfc && std::string(*name) == "qwen2"))
      refuse_tokenizer(path_, "its normalizer is not known there (" + normalizer.dump() + ")");
    out.text(kTokenizerKey + "model", "gpt2");
    out.text(kTokenizerKey + "pre", *name);
    std::vector<std::string> merges;
    for (const auto& [left, right] : merges_)
      merges.push_back(left + " " + right);
    out.texts(kTokenizerKey + "merges", merges);
  }

  // Merging by the rank of the merge that makes a piece is what merging by score does when scores
  // fall with the rank, and pieces that no merge makes come last.
  void write_by_scores(io::GgufStream& out) const {
    std::map<std::string, float> by_piece;
    for (size_t rank = 0; rank < merges_.size(); ++rank)
      by_piece.emplace(merges_[rank].first + merges_[rank].second, -static_cast<float>(rank));
    std::vector<float> scores;
    for (size_t id = 0; id < pieces_.tokens.size(); ++id) {
      const auto found = by_piece.find(pieces_.tokens[id]);
      const float last = -static_cast<float>(merges_.size() + 1);
      scores.push_back(pieces_.types[id] != kPlainToken ? 0
                       : found == by_piece.end()        ? last
                                                        : found->second);
    }
    out.text(kTokenizerKey + "model", "llama");
    out.text(kTokenizerKey + "pre", "default");
    out.f32s(kTokenizerKey + "scores", scores);
    out.boolean(kTokenizerKey + "add_space_prefix", adds_space());
  }

  bool adds_space() const {
    const std::string mark = "\u2581";
    const json pre = root_.value("pre_tokenizer", json());
    if (pre.is_object() && pre.value("type", "") == "Metaspace")
      return pre.value("prepend_scheme",
                       pre.value("add_prefix_space", true) ? "always" : "never") != "never";
    const json normalizer = root_.value("normalizer", json());
    const json parts = normalizer.is_object() && normalizer.contains("normalizers")
                           ? normalizer["normalizers"]
                           : json::array({normalizer});
    const json spaces = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}};
    const json prepend = {{"type", "Prepend"}, {"prepend", mark}};
    if (pre.is_null() && parts == json::array({prepend, spaces}))
      return true;
    if (!pre.is_null() || parts != json::array({spaces}))
      refuse_tokenizer(path_,
                       "its normalizer or pre-tokenizer is none of SentencePiece (" +
                           normalizer.dump() + ", " + pre.dump() + ")");
    return false;
  }

  fs::path path_;
  json root_;
  json model_;
  bool bytes_ = false;
  GgufPieces pieces_;
  std::vector<std::pair<std::string, std::string>> merges_;
};

template <class To, class From>
std::vector<To> narrowed_to(const std::vector<From>& values) {
  std::vector<To> out;
  for (const From value : values)
    out.push_back(static_cast<To>(value));
  return out;
}

/// All that stands under "tokenizer.", as the file has it.
void copy_tokenizer(const io::Gguf& file, io::GgufStream& out) {
  for (const auto& [key, value] : file.values()) {
    if (!key.starts_with("tokenizer."))
      continue;
    if (const auto* text = std::get_if<std::string>(&value))
      out.text(key, *text);
    else if (const auto* flag = std::get_if<bool>(&value))
      out.boolean(key, *flag);
    else if (const auto* number = std::get_if<int64_t>(&value))
      out.u32(key, static_cast<uint32_t>(*number));
    else if (const auto* real = std::get_if<double>(&value))
      out.f32(key, static_cast<float>(*real));
    else if (const auto* texts = std::get_if<std::vector<std::string>>(&value))
      out.texts(key, *texts);
    else if (const auto* integers = std::get_if<std::vector<int64_t>>(&value))
      out.i32s(key, narrowed_to<int32_t>(*integers));
    else if (const auto* reals = std::get_if<std::vector<double>>(&value))
      out.f32s(key, narrowed_to<float>(*reals));
  }
}

void write_special(const ExportSource& source,
                   const text::Tokenizer& tokenizer,
                   io::GgufStream& out) {
  const text::SpecialTokens& special = tokenizer.special();
  const auto id = [&](const char* key, std::optional<int64_t> value) {
    if (value)
      out.u32(kTokenizerKey + key, static_cast<uint32_t>(*value));
  };
  const std::vector<int64_t>& eos = source.config.eos;
  id("bos_token_id", source.config.bos ? source.config.bos : std::optional<int64_t>(special.bos));
  id("eos_token_id", eos.empty() ? std::optional<int64_t>(special.eos) : eos.front());
  if (eos.size() > 1)
    id("eot_token_id", eos[1]);
  id("unknown_token_id", special.unk);
  id("padding_token_id", special.pad);
  out.boolean(kTokenizerKey + "add_bos_token", special.add_bos);
  out.boolean(kTokenizerKey + "add_eos_token", false);
  if (!tokenizer.chat_template().empty())
    out.text("tokenizer.chat_template", tokenizer.chat_template());
}

}  // namespace

void write_gguf_tokenizer(const ExportSource& source, io::GgufStream& out) {
  const fs::path& path = source.tokenizer_path;
  if (!fs::is_directory(path) && io::is_gguf(path))
    return copy_tokenizer(*io::open_gguf(path), out);
  const fs::path file = fs::is_directory(path) ? path / "tokenizer.json" : path;
  if (!fs::exists(file) || file.extension() != ".json")
    refuse_tokenizer(path, "a tokenizer.json is needed (or a GGUF file), and there is none");
  const auto tokenizer = text::open_tokenizer(path);
  try {
    JsonVocabulary(file, source.config.vocab).write(out);
  } catch (const json::exception& error) {
    throw recipes::UserError(file.string() + ": not a tokenizer.json as expected: " + error.what());
  }
  write_special(source, *tokenizer, out);
}

}  // namespace sterna::exporter
