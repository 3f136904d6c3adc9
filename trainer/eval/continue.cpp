#include "trainer/eval/continue.h"

#include <algorithm>

#include "trainer/text/chat.h"
#include "trainer/text/stream.h"

namespace sterna::eval {

// A chat model's configuration may name an end of turn beside the tokenizer's end of text.
std::vector<int64_t> end_tokens(const model::DecoderConfig& config,
                                const text::Tokenizer& tokenizer) {
  std::vector<int64_t> ends = config.eos;
  if (tokenizer.special().eos)
    ends.push_back(*tokenizer.special().eos);
  return ends;
}

std::vector<int32_t> prompt_ids(const text::Tokenizer& tokenizer,
                                const std::string& prompt,
                                bool chat) {
  if (chat) {
    const text::ChatMessage message{"user", prompt};
    return tokenizer.encode(
        text::render_chat(tokenizer, {&message, 1}, /*add_generation_prompt=*/true));
  }
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  if (tokenizer.special().add_bos && tokenizer.special().bos)
    ids.insert(ids.begin(), *tokenizer.special().bos);
  return ids;
}

Continuation continue_prompt(const model::Decoder& decoder,
                             const text::Tokenizer& tokenizer,
                             const std::vector<int32_t>& prompt,
                             const Sampling& sampling,
                             const std::function<void(const std::string&)>& on_text) {
  const std::vector<int64_t> ends = end_tokens(decoder.config(), tokenizer);
  Continuation result;
  text::StreamDecoder stream(tokenizer, prompt);
  const auto give = [&](const std::string& text) {
    result.text += text;
    if (on_text)
      on_text(text);
  };
  const std::vector<int64_t> none;
  bool ended = false;
  generate(decoder, prompt, sampling, sampling.past_end ? none : ends, [&](int32_t id) {
    result.written += ended ? 0 : 1;
    ended = ended || std::find(ends.begin(), ends.end(), id) != ends.end();
    give(ended ? "" : stream.push(id));
    return true;
  });
  give(stream.flush());
  return result;
}

}  // namespace sterna::eval
