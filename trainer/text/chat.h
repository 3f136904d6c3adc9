#pragma once

#include <memory>
#include <span>
#include <string>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

namespace jinja {
struct Template;
}

struct ChatMessage {
  std::string role;  ///< system, user, assistant
  std::string content;
};

/// What a chat template sees besides the messages.
struct ChatTokens {
  std::string bos;
  std::string eos;
};

/// A checkpoint's Jinja template, read once; renders as transformers' apply_chat_template does.
class ChatTemplate {
 public:
  /// @throws recipes::UserError  naming line, column and construct of a template that is not
  ///         supported
  ChatTemplate(const std::string& source, ChatTokens tokens);

  /// The tokenizer's own.
  /// @throws recipes::UserError  also where the checkpoint has no chat template
  explicit ChatTemplate(const Tokenizer& tokenizer);

  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  /// @param add_generation_prompt  ends with what the assistant's turn begins with
  /// @throws recipes::UserError  giving the template's own refusal of the messages
  std::string render(std::span<const ChatMessage> messages, bool add_generation_prompt) const;

 private:
  std::unique_ptr<const jinja::Template> template_;
  ChatTokens tokens_;
};

/// Renders messages with a template that is used once.
std::string render_chat(const std::string& source,
                        std::span<const ChatMessage> messages,
                        const ChatTokens& tokens,
                        bool add_generation_prompt);

/// The same with the tokenizer's template. The text holds its special tokens, which encode() finds;
/// no start token must be added to it.
/// @throws recipes::UserError  also where the checkpoint has no chat template
std::string render_chat(const Tokenizer& tokenizer,
                        std::span<const ChatMessage> messages,
                        bool add_generation_prompt);

}  // namespace sterna::text
