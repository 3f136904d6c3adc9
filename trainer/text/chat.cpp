#include "trainer/text/chat.h"

#include "recipes/user_error.h"
#include "trainer/text/jinja_parser.h"
#include "trainer/text/jinja_render.h"

namespace sterna::text {

std::string render_chat(const std::string& source,
                        std::span<const ChatMessage> messages,
                        const ChatTokens& tokens,
                        bool add_generation_prompt) {
  jinja::Value list = jinja::Value::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  return jinja::render(jinja::parse(source),
                       {{"messages", std::move(list)},
                        {"bos_token", tokens.bos},
                        {"eos_token", tokens.eos},
                        {"add_generation_prompt", add_generation_prompt},
                        {"tools", nullptr},
                        {"documents", nullptr}});
}

std::string render_chat(const Tokenizer& tokenizer,
                        std::span<const ChatMessage> messages,
                        bool add_generation_prompt) {
  if (tokenizer.chat_template().empty()) {
    throw recipes::UserError("this checkpoint has no chat template; give the prompt as plain text");
  }
  const SpecialTokens& special = tokenizer.special();
  const ChatTokens tokens{special.bos ? tokenizer.piece(*special.bos) : "",
                          special.eos ? tokenizer.piece(*special.eos) : ""};
  return render_chat(tokenizer.chat_template(), messages, tokens, add_generation_prompt);
}

}  // namespace sterna::text
