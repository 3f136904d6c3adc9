#pragma once

#include <filesystem>
#include <memory>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// Reads the tokenizer inside a GGUF file: byte-level BPE (`gpt2`) or SentencePiece BPE by scores
/// (`llama`). Control and user-defined tokens are matched in the text.
/// @throws recipes::UserError  naming the model or pre-tokenizer that is not supported
std::unique_ptr<Tokenizer> open_tokenizer_gguf(const std::filesystem::path& file);

}  // namespace sterna::text
