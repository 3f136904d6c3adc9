#include "trainer/text/word_piece.h"

#include <algorithm>

#include "recipes/user_error.h"

namespace sterna::text {
namespace {

bool begins_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

}  // namespace

WordPiece::WordPiece(const Vocabulary& vocabulary, WordPieceOptions options)
    : vocabulary_(vocabulary), options_(std::move(options)) {
  const std::optional<int32_t> unk = vocabulary_.find(options_.unk);
  if (!unk) {
    throw recipes::UserError("tokenizer: the piece for unknown words \"" + options_.unk +
                             "\" is not in the vocabulary");
  }
  unk_ = *unk;
  for (int32_t id = 0; id < vocabulary_.size(); ++id)
    longest_piece_ = std::max(longest_piece_, vocabulary_.piece(id).size());
}

size_t WordPiece::longest(std::string_view rest, bool first, int32_t& id) const {
  std::string spelled = first ? "" : options_.prefix;
  const size_t before = spelled.size();
  spelled += rest.substr(0, longest_piece_);
  for (size_t end = spelled.size() - before; end > 0; --end) {
    const bool whole = end == rest.size() || begins_character(rest[end]);
    if (!whole)
      continue;
    spelled.resize(before + end);
    if (const std::optional<int32_t> found = vocabulary_.find(spelled)) {
      id = *found;
      return end;
    }
  }
  return 0;
}

void WordPiece::encode_anew(std::string_view word, Scratch& scratch) const {
  scratch.symbols.clear();
  const auto chars = std::count_if(word.begin(), word.end(), begins_character);
  size_t done = 0;
  while (chars <= options_.max_chars && done < word.size()) {
    int32_t id = 0;
    const size_t length = longest(word.substr(done), done == 0, id);
    if (length == 0)
      break;
    scratch.symbols.push_back(id);
    done += length;
  }
  if (done < word.size())
    scratch.symbols.assign(1, unk_);
}

}  // namespace sterna::text
