#pragma once

#include <memory>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace sterna::text {

/// A part of a text on its way to the model.
struct Piece {
  std::string_view text;
  bool start = false;  ///< begins where the original text begins
};

/// Takes the parts of a text from left to right; they live during the call only.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  virtual void take(Piece piece) = 0;
};

/// Cuts a text into the parts that the model must not merge across (tokenizer.json's
/// `pre_tokenizer`). Empty parts are not passed on.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(Piece piece, PieceSink& sink) const = 0;
};

/// The alphabet in which a pre-tokenizer hands text to the model.
enum class Alphabet {
  kText,   ///< the text's own characters
  kBytes,  ///< raw bytes; the model's vocabulary is spelled in the ByteLevel alphabet
};

struct PreTokenizerChain {
  std::unique_ptr<PreTokenizer> first;  ///< null: the text is one part
  Alphabet alphabet = Alphabet::kText;
};

/// @param spec  the JSON of `pre_tokenizer`; null for none
/// @param raw_bytes  whether a last ByteLevel may hand over raw bytes
/// @throws recipes::UserError  naming the component that is not supported
PreTokenizerChain make_pre_tokenizer(const nlohmann::json& spec, bool raw_bytes);

}  // namespace sterna::text
