#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "trainer/text/added_tokens.h"
#include "trainer/text/bpe.h"
#include "trainer/text/decoder.h"
#include "trainer/text/normalizer.h"
#include "trainer/text/pre_tokenizer.h"
#include "trainer/text/settings.h"
#include "trainer/text/tokenizer.h"
#include "trainer/text/word_piece.h"

namespace sterna::text {

/// What a tokenizer is made of, read from tokenizer.json or from a GGUF file.
struct PipelineParts {
  std::unique_ptr<Normalizer> normalizer;  ///< null: none
  PreTokenizerChain pre_tokenizer;
  std::vector<std::string> pieces;  ///< the model's vocabulary by id
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<double> scores;  ///< by id; not empty: SentencePiece's rule instead of `merges`
  BpeOptions bpe;
  std::optional<WordPieceOptions> word_piece;  ///< given: WordPiece instead of a byte-pair model
  std::vector<AddedToken> added;
  std::unique_ptr<Decoder> decoder;
  std::string fingerprint;
};

/// Added tokens, normaliser, pre-tokenizer, model and decoder in a row, as Hugging Face
/// tokenizers runs them. Safe to use from several threads.
class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(PipelineParts parts);

  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(all_pieces_.size()); }
  const SpecialTokens& special() const override { return settings_.special; }
  std::string piece(int32_t id) const override;
  const std::string& chat_template() const override { return settings_.chat_template; }
  const Surroundings& surroundings() const override { return settings_.surroundings; }
  bool is_special(int32_t id) const override { return special_ids_.contains(id); }
  const std::string& fingerprint() const override { return fingerprint_; }

  /// Id of an added token or a piece.
  std::optional<int32_t> find(std::string_view piece) const;
  void set_settings(Settings settings) { settings_ = std::move(settings); }

 private:
  class Run;

  std::unique_ptr<WordModel::Scratch> take_scratch() const;
  void give_back(std::unique_ptr<WordModel::Scratch> scratch) const;

  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<Decoder> decoder_;
  Vocabulary vocabulary_;
  std::unique_ptr<WordModel> model_;
  AddedTokens raw_added_;
  AddedTokens normalized_added_;
  std::vector<std::string> all_pieces_;  ///< added tokens over the model's pieces
  std::unordered_map<std::string, int32_t> added_ids_;
  std::unordered_set<int32_t> special_ids_;
  std::string fingerprint_;
  Settings settings_;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WordModel::Scratch>> idle_;
};

}  // namespace sterna::text
