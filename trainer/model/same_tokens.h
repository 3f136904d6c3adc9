#pragma once

#include <memory>
#include <string>

#include "trainer/model/load.h"
#include "trainer/text/tokenizer.h"

namespace sterna::model {

/// The tokenizer of a checkpoint.
/// @throws recipes::UserError  where it has more tokens than the embedding has rows
std::unique_ptr<text::Tokenizer> open_tokenizer(const CheckpointInfo& checkpoint);

/// Refuses two checkpoints whose logits cannot be compared: vocabularies of two sizes, or
/// tokenizers by which one id stands for two different tokens. Tokenizers of one fingerprint are
/// the same; others may still be one vocabulary in two files (tokenizer.json and GGUF), so their
/// pieces decide. A checkpoint without a tokenizer is taken at its vocabulary's size.
/// @param tokenizer  of `checkpoint`
/// @param key        of the recipe that names `other`: "teacher.path"
/// @throws recipes::UserError  naming both, and the first id that differs
void require_same_tokens(const CheckpointInfo& checkpoint,
                         const text::Tokenizer& tokenizer,
                         const CheckpointInfo& other,
                         const std::string& key);

}  // namespace sterna::model
