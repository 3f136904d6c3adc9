#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trainer/text/merge_table.h"
#include "trainer/text/pre_tokenizer.h"
#include "trainer/text/vocabulary.h"
#include "trainer/text/word_model.h"

namespace sterna::text {

/// How a byte-pair model reads words; the names are tokenizer.json's.
struct BpeOptions {
  Alphabet alphabet = Alphabet::kText;
  std::optional<std::string> unk;  ///< the piece for characters that the vocabulary lacks
  bool fuse_unk = false;
  bool byte_fallback = false;  ///< such characters become <0xXX> pieces where all of them exist
  bool ignore_merges = false;  ///< a word that is a piece is that piece
  std::string prefix;          ///< continuing_subword_prefix
  std::string suffix;          ///< end_of_word_suffix
};

/// Byte-pair encoding of one word: Hugging Face's by ranked merges, or SentencePiece's by scores.
class Bpe final : public WordModel {
 public:
  /// @param vocabulary  must outlive this object
  /// @param merges  pairs of pieces, the first one merges first
  /// @throws recipes::UserError  naming a piece that the vocabulary lacks
  Bpe(const Vocabulary& vocabulary,
      const std::vector<std::pair<std::string, std::string>>& merges,
      BpeOptions options);

  /// SentencePiece's rule: two neighbours merge where their text is a piece, the best score first.
  /// @param scores  by id
  Bpe(const Vocabulary& vocabulary, std::span<const double> scores, BpeOptions options);

  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const override;

 private:
  void find_symbols();
  void allow_splitting(std::span<const int32_t> merged);
  int32_t score_symbol(std::string_view piece);
  void add_score_merges(int32_t id, uint32_t rank);

  void encode_anew(std::string_view part, Scratch& scratch) const override;
  void bytes_to_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void chars_to_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  int32_t symbol_of_char(std::string_view character, bool first, bool last) const;
  bool append_bytes(std::string_view character, std::vector<int32_t>& symbols) const;
  void resolve_virtual(std::vector<int32_t>& symbols) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  MergeTable merges_;
  std::optional<int32_t> unk_;
  std::array<int32_t, 256> bytes_{};          ///< symbol of a raw byte, or of an ASCII character
  std::array<int32_t, 256> byte_fallback_{};  ///< id of <0xXX>
  bool split_before_marker_ = false;          ///< no merge crosses "x" + U+2581
  /// Characters that are no pieces but parts of some; ids behind the vocabulary's.
  std::unordered_map<std::string, int32_t> virtual_ids_;
  std::vector<std::string> virtual_chars_;
};

}  // namespace sterna::text
