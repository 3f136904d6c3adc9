// tokenizer.json (Hugging Face tokenizers): components by name, each read where it is run; what is
// not known here is refused by name, never skipped.
#include "trainer/text/tokenizer_json.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/io/sha256.h"
#include "trainer/io/tensor_file.h"
#include "trainer/text/post_processor.h"
#include "trainer/text/spec.h"

namespace sterna::text {
namespace {

using nlohmann::json;

/// Ids have gaps, but no table is made that is mostly gap: a damaged id would ask for the whole
/// memory.
size_t most_ids(size_t pieces) {
  return 8 * pieces + 65536;
}

int32_t checked_id(const json& value, const std::string& piece, size_t most) {
  if (!holds_integer<int32_t>(value) || value.get<int32_t>() < 0 || value.get<size_t>() >= most) {
    throw recipes::UserError("tokenizer.json: the id of \"" + piece + "\" is " + value.dump() +
                             ", not a number from 0 to " + std::to_string(most - 1));
  }
  return value.get<int32_t>();
}

std::vector<std::string> read_vocabulary(const json& vocabulary) {
  std::vector<std::string> pieces(vocabulary.size());
  const size_t most = most_ids(pieces.size());
  for (const auto& [piece, value] : vocabulary.items()) {
    const auto slot = static_cast<size_t>(checked_id(value, piece, most));
    pieces.resize(std::max(pieces.size(), slot + 1));
    pieces[slot] = piece;
  }
  return pieces;
}

std::vector<std::pair<std::string, std::string>> read_merges(const json& merges) {
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(merges.size());
  for (const json& merge : merges) {
    if (merge.is_array() && merge.size() == 2) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      out.push_back(split_merge(merge.get<std::string>()));
    }
  }
  return out;
}

void read_word_piece(const json& model, PipelineParts& parts) {
  WordPieceOptions options;
  options.unk = value_or(model, "unk_token", options.unk);
  options.prefix = value_or(model, "continuing_subword_prefix", options.prefix);
  options.max_chars = value_or(model, "max_input_chars_per_word", options.max_chars);
  parts.word_piece = std::move(options);
  parts.pieces = read_vocabulary(model.at("vocab"));
}

void read_model(const json& model, PipelineParts& parts) {
  // Old files leave the type out.
  const char* const untyped = model.contains("merges")                     ? "BPE"
                              : model.contains("max_input_chars_per_word") ? "WordPiece"
                                                                           : "?";
  const auto type = value_or<std::string>(model, "type", untyped);
  if (type == "WordPiece") {
    read_word_piece(model, parts);
    return;
  }
  if (type != "BPE") {
    refuse("model", type);
  }
  if (value_or(model, "dropout", 0.0) > 0) {
    refuse("model option", "dropout");
  }
  parts.bpe.fuse_unk = value_or(model, "fuse_unk", false);
  parts.bpe.byte_fallback = value_or(model, "byte_fallback", false);
  parts.bpe.ignore_merges = value_or(model, "ignore_merges", false);
  parts.bpe.prefix = value_or<std::string>(model, "continuing_subword_prefix", "");
  parts.bpe.suffix = value_or<std::string>(model, "end_of_word_suffix", "");
  if (const auto unk = value_or<std::string>(model, "unk_token", ""); !unk.empty()) {
    parts.bpe.unk = unk;
  }
  parts.pieces = read_vocabulary(model.at("vocab"));
  parts.merges = read_merges(model.at("merges"));
}

std::vector<AddedToken> read_added(const json& root, size_t pieces) {
  std::vector<AddedToken> out;
  for (const json& entry : root.value("added_tokens", json::array())) {
    AddedToken token;
    token.content = value_or<std::string>(entry, "content", "");
    token.id = checked_id(entry.at("id"), token.content, most_ids(pieces));
    token.single_word = value_or(entry, "single_word", false);
    token.lstrip = value_or(entry, "lstrip", false);
    token.rstrip = value_or(entry, "rstrip", false);
    token.special = value_or(entry, "special", false);
    token.normalized = value_or(entry, "normalized", !token.special);
    out.push_back(std::move(token));
  }
  return out;
}

PipelineParts read_parts(const json& root) {
  PipelineParts parts;
  read_model(root.at("model"), parts);
  parts.added = read_added(root, parts.pieces.size());
  parts.normalizer = make_normalizer(root.value("normalizer", json()));
  // Raw bytes need a model without rules of its own about characters.
  const bool raw_bytes = !parts.word_piece && !parts.bpe.byte_fallback &&
                         parts.bpe.prefix.empty() && parts.bpe.suffix.empty();
  parts.pre_tokenizer = make_pre_tokenizer(root.value("pre_tokenizer", json()), raw_bytes);
  parts.bpe.alphabet = parts.pre_tokenizer.alphabet;
  parts.decoder = make_decoder(root.value("decoder", json()));
  return parts;
}

void require_pieces(const Surroundings& around, const Pipeline& tokenizer) {
  for (const std::vector<TemplatePart>* parts : {&around.single, &around.pair}) {
    for (const TemplatePart& part : *parts) {
      if (part.text < 0 && part.special >= tokenizer.vocab_size())
        throw recipes::UserError("tokenizer.json: the post-processor adds the id " +
                                 std::to_string(part.special) + ", but the vocabulary has " +
                                 std::to_string(tokenizer.vocab_size()) + " pieces");
    }
  }
}

}  // namespace

std::pair<std::string, std::string> split_merge(const std::string& merge) {
  const size_t space = merge.find(' ', 1);
  if (space == std::string::npos || space + 1 == merge.size()) {
    throw recipes::UserError("tokenizer: the merge \"" + merge + "\" is not two pieces");
  }
  return {merge.substr(0, space), merge.substr(space + 1)};
}

std::unique_ptr<Pipeline> build_tokenizer(const json& root,
                                          std::string fingerprint,
                                          const std::filesystem::path& file) {
  try {
    PipelineParts parts = read_parts(root);
    parts.fingerprint = std::move(fingerprint);
    const std::optional<Surroundings> around =
        read_post_processor(root.value("post_processor", json()));
    Settings own;
    if (around && !around->single.empty() && around->single.front().text < 0) {
      own.special.bos = around->single.front().special;
      own.special.add_bos = true;
    }
    auto tokenizer = std::make_unique<Pipeline>(std::move(parts));
    require_pieces(around.value_or(Surroundings()), *tokenizer);
    Settings settings = read_settings(
        file.parent_path(), own, [&](std::string_view piece) { return tokenizer->find(piece); });
    settings.surroundings = around.value_or(default_surroundings(settings.special));
    tokenizer->set_settings(std::move(settings));
    return tokenizer;
  } catch (const json::exception& error) {
    throw recipes::UserError(file.string() + ": not a tokenizer.json as expected: " + error.what());
  } catch (const io::FileError&) {
    throw;
  } catch (const recipes::UserError& error) {
    throw recipes::UserError(file.string() + ": " + error.what());
  }
}

std::unique_ptr<Pipeline> open_tokenizer_json(const std::filesystem::path& file) {
  const std::string text = io::read_text(file);
  return build_tokenizer(
      io::parse_json(text, file), io::sha256_hex(std::as_bytes(std::span(text))), file);
}

}  // namespace sterna::text
