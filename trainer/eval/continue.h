#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trainer/eval/generate.h"
#include "trainer/text/tokenizer.h"

namespace sterna::eval {

/// Ids of a prompt by the checkpoint's own rules, wherever a prompt is continued: a start token
/// where its tokenizer adds one; a chat template writes its own.
/// @throws recipes::UserError  for a chat template that is absent or cannot be handled
std::vector<int32_t> prompt_ids(const text::Tokenizer& tokenizer,
                                const std::string& prompt,
                                bool chat = false);

/// Ids that end what a checkpoint writes: of its configuration and of its tokenizer.
std::vector<int64_t> end_tokens(const model::DecoderConfig& config,
                                const text::Tokenizer& tokenizer);

struct Continuation {
  int64_t written = 0;  ///< new tokens, the end token among them
  std::string text;     ///< of the new tokens but the end token, as it follows the prompt's
};

/// Continues a prompt up to any end token of the model's configuration or its tokenizer.
/// @param on_text  called once per new token with the text that it completes, which may be empty,
///                 and at last with what was left open
Continuation continue_prompt(const model::Decoder& decoder,
                             const text::Tokenizer& tokenizer,
                             const std::vector<int32_t>& prompt,
                             const Sampling& sampling,
                             const std::function<void(const std::string&)>& on_text = {});

}  // namespace sterna::eval
