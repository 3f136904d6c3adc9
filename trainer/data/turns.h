#pragma once

#include <span>
#include <string_view>

#include "trainer/data/token_documents.h"
#include "trainer/text/chat.h"

namespace sterna::data {

/// Turns conversations into ids of which only the assistant's words, and the token that ends its
/// turn, are to be predicted. The ids are those of the whole conversation as the checkpoint's
/// template writes it.
class Turns {
 public:
  /// @throws recipes::UserError  where the checkpoint has no chat template
  explicit Turns(const text::Tokenizer& tokenizer);

  /// @throws recipes::UserError  where the template refuses the messages, or rewrites what it wrote
  ///         before an answer once the answer is there
  TokenDocument encode(std::span<const text::ChatMessage> messages) const;

 private:
  struct Span {
    size_t begin = 0;
    size_t end = 0;
  };
  Span answer(std::span<const text::ChatMessage> messages,
              size_t index,
              const std::string& whole) const;

  const text::Tokenizer& tokenizer_;
  text::ChatTemplate template_;
};

/// Number of tokens that both lists begin with.
size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b);

}  // namespace sterna::data
