#pragma once

#include <span>
#include <string>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

struct ChatMessage {
  std::string role;  ///< system, user, assistant
  std::string content;
};

/// What a chat template sees besides the messages.
struct ChatTokens {
  std::string bos;
  std::string eos;
};

/// Renders messages with a checkpoint's Jinja template, as transformers' apply_chat_template does.
/// @param add_generation_prompt  ends with what the assistant's turn begins with
/// @throws recipes::UserError  naming line, column and construct of a template that is not
///         supported, or giving the template's own refusal of the messages
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
