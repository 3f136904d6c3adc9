#include "trainer/text/bpe.h"

#include <algorithm>
#include <cstdio>

#include "recipes/user_error.h"
#include "trainer/text/byte_level.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

constexpr std::string_view kMarker = "\u2581";

// "x" + U+2581 where x is not U+2581 itself.
bool crosses_marker(std::string_view piece) {
  for (size_t at = piece.find(kMarker, 1); at != piece.npos; at = piece.find(kMarker, at + 1)) {
    if (!piece.substr(0, at).ends_with(kMarker)) {
      return true;
    }
  }
  return false;
}

int32_t need(const Vocabulary& vocabulary, const std::string& piece, const std::string& what) {
  const std::optional<int32_t> id = vocabulary.find(piece);
  if (!id) {
    throw recipes::UserError("tokenizer: " + what + " \"" + piece + "\", which the vocabulary of " +
                             std::to_string(vocabulary.size()) + " pieces does not have");
  }
  return *id;
}

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary,
         const std::vector<std::pair<std::string, std::string>>& merges,
         BpeOptions options)
    : vocabulary_(vocabulary), options_(std::move(options)), merges_(merges.size()) {
  std::vector<int32_t> merged;
  merged.reserve(merges.size());
  std::string whole;
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int32_t left_id = need(vocabulary_, left, "a merge names");
    const int32_t right_id = need(vocabulary_, right, "a merge names");
    const bool continued = !options_.prefix.empty() && right.starts_with(options_.prefix);
    whole.assign(left).append(right, continued ? options_.prefix.size() : 0);
    const int32_t id = need(vocabulary_, whole, "a merge makes");
    merges_.set(left_id, right_id, {rank, id});
    merged.push_back(id);
  }
  find_symbols();
  allow_splitting(merged);
}

Bpe::Bpe(const Vocabulary& vocabulary, std::span<const double> scores, BpeOptions options)
    : vocabulary_(vocabulary), options_(std::move(options)) {
  size_t expected = 0;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    expected += vocabulary_.piece(id).size();
    ids.push_back(id);
  }
  merges_ = MergeTable(expected);
  // Equal scores share a rank, so that the leftmost of them merges first.
  std::vector<double> ordered(scores.begin(), scores.end());
  std::sort(ordered.begin(), ordered.end(), std::greater<>());
  ordered.erase(std::unique(ordered.begin(), ordered.end()), ordered.end());
  for (const int32_t id : ids) {
    const auto at = std::lower_bound(
        ordered.begin(), ordered.end(), scores[static_cast<size_t>(id)], std::greater<>());
    add_score_merges(id, static_cast<uint32_t>(at - ordered.begin()));
  }
  find_symbols();
  allow_splitting(ids);
}

int32_t Bpe::score_symbol(std::string_view piece) {
  if (const std::optional<int32_t> id = vocabulary_.find(piece)) {
    return *id;
  }
  if (piece.size() != utf8_length(piece[0])) {
    return -1;
  }
  const auto next = static_cast<int32_t>(vocabulary_.size() + std::ssize(virtual_chars_));
  const auto [entry, added] = virtual_ids_.emplace(piece, next);
  if (added) {
    virtual_chars_.emplace_back(piece);
  }
  return entry->second;
}

void Bpe::add_score_merges(int32_t id, uint32_t rank) {
  const std::string_view piece = vocabulary_.piece(id);
  for (size_t cut = 0; cut < piece.size();) {
    cut += utf8_length(piece[cut]);
    if (cut >= piece.size()) {
      break;
    }
    const int32_t left = score_symbol(piece.substr(0, cut));
    const int32_t right = score_symbol(piece.substr(cut));
    if (left >= 0 && right >= 0) {
      merges_.set(left, right, {rank, id});
    }
  }
}

void Bpe::find_symbols() {
  if (options_.unk) {
    unk_ = need(vocabulary_, *options_.unk, "unk_token is");
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto slot = static_cast<size_t>(byte);
    std::string spelled(1, static_cast<char>(byte));
    if (options_.alphabet == Alphabet::kBytes) {
      spelled = to_byte_level(spelled);
    }
    const bool readable = options_.alphabet == Alphabet::kBytes || byte < 128;
    bytes_[slot] = readable ? vocabulary_.find(spelled).value_or(-1) : -1;
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    byte_fallback_[slot] = vocabulary_.find(name).value_or(-1);
  }
}

// Text without a pre-tokenizer is one long word. Where no merge can cross the space in front of a
// word, the words may be encoded one by one, which the cache makes fast.
void Bpe::allow_splitting(std::span<const int32_t> merged) {
  const bool plain = options_.alphabet == Alphabet::kText && !options_.ignore_merges &&
                     options_.prefix.empty() && options_.suffix.empty();
  split_before_marker_ = plain && vocabulary_.find(kMarker) &&
                         std::none_of(merged.begin(), merged.end(), [&](int32_t id) {
                           return crosses_marker(vocabulary_.piece(id));
                         });
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const {
  if (!split_before_marker_) {
    encode_part(word, scratch, out);
    return;
  }
  size_t begin = 0;
  for (size_t at = word.find(kMarker); at != word.npos;
       at = word.find(kMarker, at + kMarker.size())) {
    if (at > begin && !word.substr(begin, at - begin).ends_with(kMarker)) {
      encode_part(word.substr(begin, at - begin), scratch, out);
      begin = at;
    }
  }
  encode_part(word.substr(begin), scratch, out);
}

void Bpe::encode_anew(std::string_view part, Scratch& scratch) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  symbols.clear();
  const bool bytes = options_.alphabet == Alphabet::kBytes;
  if (options_.ignore_merges) {
    const auto whole = bytes ? vocabulary_.find(to_byte_level(part)) : vocabulary_.find(part);
    if (whole) {
      symbols.push_back(*whole);
      return;
    }
  }
  if (bytes) {
    bytes_to_symbols(part, symbols);
  } else {
    chars_to_symbols(part, symbols);
  }
  merge_symbols(merges_, symbols);
  resolve_virtual(symbols);
}

void Bpe::bytes_to_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool after_unk = false;
  for (const char byte : word) {
    const int32_t id = bytes_[static_cast<uint8_t>(byte)];
    if (id >= 0) {
      symbols.push_back(id);
    } else if (unk_ && !(after_unk && options_.fuse_unk)) {
      symbols.push_back(*unk_);
    }
    after_unk = id < 0;
  }
}

int32_t Bpe::symbol_of_char(std::string_view character, bool first, bool last) const {
  if (options_.prefix.empty() && options_.suffix.empty()) {
    if (character.size() == 1) {
      return bytes_[static_cast<uint8_t>(character[0])];
    }
    return vocabulary_.find(character).value_or(-1);
  }
  const std::string spelled =
      (first ? "" : options_.prefix) + std::string(character) + (last ? options_.suffix : "");
  return vocabulary_.find(spelled).value_or(-1);
}

bool Bpe::append_bytes(std::string_view character, std::vector<int32_t>& symbols) const {
  if (!options_.byte_fallback || std::any_of(character.begin(), character.end(), [&](char byte) {
        return byte_fallback_[static_cast<uint8_t>(byte)] < 0;
      })) {
    return false;
  }
  for (const char byte : character) {
    symbols.push_back(byte_fallback_[static_cast<uint8_t>(byte)]);
  }
  return true;
}

// As Hugging Face's merge_word: an unknown symbol is held back until a known one or the end, and
// bytes pass it by.
void Bpe::chars_to_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool held = false;
  const auto release = [&] {
    if (held) {
      symbols.push_back(*unk_);
    }
    held = false;
  };
  for (size_t at = 0; at < word.size();) {
    const size_t length = std::min(utf8_length(word[at]), word.size() - at);
    const std::string_view character = word.substr(at, length);
    int32_t id = symbol_of_char(character, at == 0, at + length == word.size());
    at += length;
    if (id < 0 && !virtual_ids_.empty()) {
      const auto found = virtual_ids_.find(std::string(character));
      id = found == virtual_ids_.end() ? -1 : found->second;
    }
    if (id >= 0) {
      release();
      symbols.push_back(id);
    } else if (!append_bytes(character, symbols) && unk_) {
      if (!options_.fuse_unk) {
        release();
      }
      held = true;
    }
  }
  release();
}

void Bpe::resolve_virtual(std::vector<int32_t>& symbols) const {
  const auto size = static_cast<int32_t>(vocabulary_.size());
  if (virtual_ids_.empty() ||
      std::none_of(symbols.begin(), symbols.end(), [&](int32_t id) { return id >= size; })) {
    return;
  }
  std::vector<int32_t> resolved;
  for (const int32_t id : symbols) {
    if (id < size) {
      resolved.push_back(id);
    } else if (!append_bytes(virtual_chars_[static_cast<size_t>(id - size)], resolved) && unk_) {
      resolved.push_back(*unk_);
    }
  }
  symbols = std::move(resolved);
}

}  // namespace sterna::text
