#pragma once

#include <string>

#include "trainer/text/vocabulary.h"
#include "trainer/text/word_model.h"

namespace sterna::text {

/// How WordPiece reads words; the names are tokenizer.json's.
struct WordPieceOptions {
  std::string unk = "[UNK]";  ///< a word that cannot be put together is this one piece
  std::string prefix = "##";  ///< continuing_subword_prefix
  int64_t max_chars = 100;    ///< max_input_chars_per_word
};

/// BERT's model (Schuster and Nakajima 2012; Devlin et al., arXiv 1810.04805): the longest piece
/// that begins the word, then the longest continuation, and so on.
class WordPiece final : public WordModel {
 public:
  /// @param vocabulary  must outlive this object
  /// @throws recipes::UserError  where the vocabulary has no piece for unknown words
  WordPiece(const Vocabulary& vocabulary, WordPieceOptions options);

 private:
  void encode_anew(std::string_view word, Scratch& scratch) const override;
  /// The longest piece that `rest` begins with, whose length in bytes it returns; 0 for none.
  size_t longest(std::string_view rest, bool first, int32_t& id) const;

  const Vocabulary& vocabulary_;
  WordPieceOptions options_;
  int32_t unk_ = 0;
  size_t longest_piece_ = 0;  ///< bytes
};

}  // namespace sterna::text
