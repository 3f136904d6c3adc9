#include "trainer/model/same_tokens.h"

#include "recipes/user_error.h"

namespace sterna::model {
namespace {

constexpr const char* kRemedy =
    "; logits are compared id by id, so take a checkpoint of the same family";

}  // namespace

std::unique_ptr<text::Tokenizer> open_tokenizer(const CheckpointInfo& checkpoint) {
  auto tokenizer = text::open_tokenizer(checkpoint.tokenizer_path);
  if (tokenizer->vocab_size() > checkpoint.config.vocab)
    throw recipes::UserError(checkpoint.path.string() + ": the tokenizer has " +
                             std::to_string(tokenizer->vocab_size()) +
                             " tokens, the embedding only " +
                             std::to_string(checkpoint.config.vocab) +
                             " rows; put the tokenizer beside it that it was trained with");
  return tokenizer;
}

void require_same_tokens(const CheckpointInfo& checkpoint,
                         const text::Tokenizer& tokenizer,
                         const CheckpointInfo& other,
                         const std::string& key) {
  if (checkpoint.config.vocab != other.config.vocab)
    throw recipes::UserError(key + ": " + other.path.string() + " has a vocabulary of " +
                             std::to_string(other.config.vocab) + ", " + checkpoint.path.string() +
                             " one of " + std::to_string(checkpoint.config.vocab) + kRemedy);
  if (checkpoint.tokenizer_path == other.tokenizer_path ||
      !text::has_tokenizer(other.tokenizer_path))
    return;
  const auto theirs = text::open_tokenizer(other.tokenizer_path);
  if (theirs->fingerprint() == tokenizer.fingerprint())
    return;
  const int64_t shared = std::min(tokenizer.vocab_size(), theirs->vocab_size());
  for (int64_t i = 0; i < shared; ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string mine = tokenizer.piece(id);
    const std::string other_piece = theirs->piece(id);
    // An id without a name is padding of one file or the other.
    if (mine != other_piece && !mine.empty() && !other_piece.empty())
      throw recipes::UserError(key + ": the tokenizers differ: id " + std::to_string(id) + " is '" +
                               other_piece + "' in " + other.tokenizer_path.string() + " and '" +
                               mine + "' in " + checkpoint.tokenizer_path.string() + kRemedy);
  }
}

}  // namespace sterna::model
