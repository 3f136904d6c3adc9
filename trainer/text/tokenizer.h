#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sterna::text {

/// What a model's tokenizer says about its special tokens.
struct SpecialTokens {
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> pad;
  std::optional<int32_t> unk;
  bool add_bos = false;  ///< the checkpoint's own rule for a prompt
};

/// A special token or a whole text of what a model reads.
struct TemplatePart {
  int32_t special = -1;  ///< the id where `text` is -1
  int text = -1;         ///< 0 for the first text, 1 for the second one
  int32_t type_id = 0;   ///< BERT's token_type_ids
};

/// Where special tokens stand around one text and around two.
struct Surroundings {
  std::vector<TemplatePart> single = {{.text = 0}};
  std::vector<TemplatePart> pair = {{.text = 0}, {.text = 1, .type_id = 1}};
};

/// Part of the key of what was tokenized once: raised by a change that may alter ids.
inline constexpr int kTokenizationRevision = 2;

/// Text to ids and back, the same ids as Hugging Face tokenizers or SentencePiece give.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of `text` without start or end tokens; special tokens written in the text are matched
  /// where the tokenizer's own file says so. Invalid UTF-8 is replaced by U+FFFD.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;

  /// Text of `ids`; special tokens are kept. Bytes that are no UTF-8 become U+FFFD.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  virtual int64_t vocab_size() const = 0;
  virtual const SpecialTokens& special() const = 0;

  /// Text of one token as the vocabulary spells it; empty where the id names none.
  virtual std::string piece(int32_t id) const = 0;

  /// Jinja source of the chat template; empty where the checkpoint has none.
  virtual const std::string& chat_template() const = 0;

  /// Special tokens around texts; used by encode_surrounded().
  virtual const Surroundings& surroundings() const = 0;

  /// True for a token that stands outside the text: start, end, the marks of a chat's turns.
  virtual bool is_special(int32_t id) const = 0;

  /// SHA-256 over everything that decides ids; part of the token cache's key.
  virtual const std::string& fingerprint() const = 0;
};

/// Opens the tokenizer of a checkpoint: a folder (tokenizer.json, or tokenizer.model
/// where it is alone or tokenizer.json is a conversion of it that adds no tokens, or vocab.json
/// with merges.txt, or vocab.txt; with tokenizer_config.json, special_tokens_map.json,
/// generation_config.json and config.json where they are), a tokenizer.json, a SentencePiece .model
/// or a GGUF file.
/// @throws recipes::UserError  naming the part that is not supported
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path);

/// False for a folder of weights alone.
bool has_tokenizer(const std::filesystem::path& path);

}  // namespace sterna::text
