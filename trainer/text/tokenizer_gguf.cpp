#include "trainer/text/tokenizer_gguf.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/gguf.h"
#include "trainer/io/sha256.h"
#include "trainer/text/gguf_pre.h"
#include "trainer/text/pipeline.h"
#include "trainer/text/post_processor.h"
#include "trainer/text/tokenizer_json.h"

namespace sterna::text {
namespace {

using nlohmann::json;

constexpr const char* kPrefix = "tokenizer.ggml.";

// tokenizer.ggml.token_type
constexpr int64_t kUnknown = 2;
constexpr int64_t kControl = 3;
constexpr int64_t kUserDefined = 4;

/// The part of the metadata under tokenizer.ggml.
class Source {
 public:
  explicit Source(const io::Gguf& file) : file_(file) {}

  bool has(const std::string& key) const { return file_.has(kPrefix + key); }
  const std::string& text(const std::string& key) const { return file_.text(kPrefix + key); }
  const std::vector<std::string>& texts(const std::string& key) const {
    return file_.texts(kPrefix + key);
  }
  bool flag(const std::string& key, bool fallback) const {
    return has(key) ? file_.boolean(kPrefix + key) : fallback;
  }
  // -1, also as 32 bits without a sign, says that there is none.
  std::optional<int32_t> id(const std::string& key) const {
    const int64_t id = has(key) ? file_.integer(kPrefix + key) : -1;
    if (id == -1 || id == UINT32_MAX) {
      return std::nullopt;
    }
    const auto pieces = static_cast<int64_t>(texts("tokens").size());
    if (id < 0 || id >= pieces) {
      throw recipes::UserError(std::string("GGUF tokenizer: ") + kPrefix + key + " is " +
                               std::to_string(id) + ", but the vocabulary has " +
                               std::to_string(pieces) + " pieces");
    }
    return static_cast<int32_t>(id);
  }
  std::vector<int64_t> types() const {
    return has("token_type") ? file_.integers(kPrefix + std::string("token_type"))
                             : std::vector<int64_t>(texts("tokens").size(), 1);
  }
  std::vector<double> scores() const {
    const auto found = file_.values().find(std::string(kPrefix) + "scores");
    const auto* values =
        found == file_.values().end() ? nullptr : std::get_if<std::vector<double>>(&found->second);
    if (values == nullptr || values->size() != texts("tokens").size()) {
      throw recipes::UserError(
          "GGUF tokenizer: tokenizer.ggml.scores must hold one number for each token");
    }
    if (!std::all_of(values->begin(), values->end(), [](double x) { return std::isfinite(x); })) {
      throw recipes::UserError("GGUF tokenizer: tokenizer.ggml.scores holds NaN or Inf");
    }
    return *values;
  }

 private:
  const io::Gguf& file_;
};

std::vector<AddedToken> added_tokens(const Source& source) {
  const std::vector<std::string>& pieces = source.texts("tokens");
  const std::vector<int64_t> types = source.types();
  if (types.size() != pieces.size()) {
    throw recipes::UserError("GGUF tokenizer: " + std::to_string(types.size()) +
                             " token types for " + std::to_string(pieces.size()) + " tokens");
  }
  std::vector<AddedToken> added;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (types[id] == kControl || types[id] == kUserDefined || types[id] == kUnknown) {
      AddedToken token;
      token.content = pieces[id];
      token.id = static_cast<int32_t>(id);
      token.special = types[id] != kUserDefined;
      added.push_back(std::move(token));
    }
  }
  return added;
}

bool read_byte_level(const Source& source, PipelineParts& parts) {
  if (!source.has("pre")) {
    throw recipes::UserError(
        "GGUF tokenizer: tokenizer.ggml.pre is missing, so that its pre-tokenizer is not known; "
        "convert the model again");
  }
  GgufPre pre = gguf_pre(source.text("pre"));
  parts.pre_tokenizer = make_pre_tokenizer(pre.pre_tokenizer, /*raw_bytes=*/true);
  parts.bpe.alphabet = parts.pre_tokenizer.alphabet;
  parts.bpe.ignore_merges = pre.ignore_merges;
  for (const std::string& merge : source.texts("merges")) {
    parts.merges.push_back(split_merge(merge));
  }
  parts.decoder = make_decoder({{"type", "ByteLevel"}});
  return pre.add_bos;
}

bool read_sentencepiece(const Source& source, PipelineParts& parts) {
  parts.scores = source.scores();
  parts.bpe.byte_fallback = true;
  parts.bpe.fuse_unk = true;
  if (const std::optional<int32_t> unk = source.id("unknown_token_id")) {
    parts.bpe.unk = parts.pieces[static_cast<size_t>(*unk)];
  }
  const bool prefix = source.flag("add_space_prefix", true);
  json normalizers = json::array();
  json decoders = {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  if (prefix) {
    normalizers.push_back({{"type", "Prepend"}, {"prepend", "\u2581"}});
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  normalizers.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}});
  parts.normalizer = make_normalizer({{"type", "Sequence"}, {"normalizers", normalizers}});
  parts.decoder = make_decoder({{"type", "Sequence"}, {"decoders", decoders}});
  return true;
}

// Everything that decides ids, each list behind its length.
std::string fingerprint_of(const Source& source, const PipelineParts& parts) {
  io::Sha256 hash;
  const auto add = [&](const std::string& text) {
    hash.update(std::to_string(text.size()) + ":" + text);
  };
  add(source.text("model"));
  add(source.has("pre") ? source.text("pre") : "");
  add(source.flag("add_space_prefix", true) ? "prefix" : "");
  add(std::to_string(parts.pieces.size()));
  for (const std::string& piece : parts.pieces) {
    add(piece);
  }
  for (const int64_t type : source.types()) {
    add(std::to_string(type));
  }
  for (const auto& [left, right] : parts.merges) {
    add(left);
    add(right);
  }
  for (const double score : parts.scores) {
    add(std::to_string(score));
  }
  return hash.hex();
}

std::unique_ptr<Tokenizer> build(const io::Gguf& file) {
  const Source source(file);
  PipelineParts parts;
  parts.pieces = source.texts("tokens");
  parts.added = added_tokens(source);
  const std::string& model = source.text("model");
  bool add_bos = false;
  if (model == "gpt2") {
    add_bos = read_byte_level(source, parts);
  } else if (model == "llama") {
    add_bos = read_sentencepiece(source, parts);
  } else {
    throw recipes::UserError("GGUF tokenizer: the model tokenizer.ggml.model = \"" + model +
                             "\" is not supported (gpt2, llama)");
  }
  parts.fingerprint = fingerprint_of(source, parts);
  auto tokenizer = std::make_unique<Pipeline>(std::move(parts));
  Settings settings;
  settings.special = {source.id("bos_token_id"),
                      source.id("eos_token_id"),
                      source.id("padding_token_id"),
                      source.id("unknown_token_id"),
                      source.flag("add_bos_token", add_bos)};
  settings.chat_template =
      file.has("tokenizer.chat_template") ? file.text("tokenizer.chat_template") : "";
  settings.surroundings = default_surroundings(settings.special);
  tokenizer->set_settings(std::move(settings));
  return tokenizer;
}

}  // namespace

std::unique_ptr<Tokenizer> open_tokenizer_gguf(const std::filesystem::path& file) {
  const std::unique_ptr<io::Gguf> gguf = io::open_gguf(file);
  try {
    return build(*gguf);
  } catch (const io::FileError&) {
    throw;
  } catch (const recipes::UserError& error) {
    throw recipes::UserError(file.string() + ": " + error.what());
  }
}

}  // namespace sterna::text
