#include "trainer/text/chat.h"

#include "recipes/user_error.h"
#include "trainer/text/jinja_parser.h"
#include "trainer/text/jinja_render.h"

namespace sterna::text {

namespace {

const std::string& template_of(const Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty()) {
    throw recipes::UserError("this checkpoint has no chat template; give the prompt as plain text");
  }
  return tokenizer.chat_template();
}

ChatTokens tokens_of(const Tokenizer& tokenizer) {
  const SpecialTokens& special = tokenizer.special();
  return {special.bos ? tokenizer.piece(*special.bos) : "",
          special.eos ? tokenizer.piece(*special.eos) : ""};
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source, ChatTokens tokens)
    : template_(std::make_unique<const jinja::Template>(jinja::parse(source))),
      tokens_(std::move(tokens)) {}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer)
    : ChatTemplate(template_of(tokenizer), tokens_of(tokenizer)) {}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 bool add_generation_prompt) const {
  jinja::Value list = jinja::Value::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  return jinja::render(*template_,
                       {{"messages", std::move(list)},
                        {"bos_token", tokens_.bos},
                        {"eos_token", tokens_.eos},
                        {"add_generation_prompt", add_generation_prompt},
                        {"tools", nullptr},
                        {"documents", nullptr}});
}

std::string render_chat(const std::string& source,
                        std::span<const ChatMessage> messages,
                        const ChatTokens& tokens,
                        bool add_generation_prompt) {
  return ChatTemplate(source, tokens).render(messages, add_generation_prompt);
}

std::string render_chat(const Tokenizer& tokenizer,
                        std::span<const ChatMessage> messages,
                        bool add_generation_prompt) {
  return ChatTemplate(tokenizer).render(messages, add_generation_prompt);
}

}  // namespace sterna::text
