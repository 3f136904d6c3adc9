#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// Turns ids into text as they come. Nothing is given out before its characters are complete; all
/// that was given out is the text of all ids, as `decode` has it behind that of the shown ones.
class StreamDecoder {
 public:
  /// @param tokenizer  must outlive this object
  /// @param shown      ids of a text that stands in front of what comes and is not given out
  ///                   again: only a text's own first piece loses SentencePiece's space
  explicit StreamDecoder(const Tokenizer& tokenizer, std::span<const int32_t> shown = {})
      : tokenizer_(tokenizer), ids_(shown.begin(), shown.end()), shown_(shown.size()) {}

  /// The text that `id` completes, often its own; empty while a character is still open.
  std::string push(int32_t id);

  /// What is left at the end; bytes that never became a character are U+FFFD.
  std::string flush();

 private:
  std::string text(size_t end) const;
  std::string emit(size_t end);

  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;  ///< the last given-out stretch, for its context, and what is open
  size_t shown_ = 0;          ///< ids that were given out
};

}  // namespace sterna::text
