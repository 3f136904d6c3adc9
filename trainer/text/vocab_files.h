#pragma once

#include <filesystem>
#include <memory>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// True for a folder with vocab.json and merges.txt, or with vocab.txt.
bool has_vocabulary_files(const std::filesystem::path& folder);

/// Opens the tokenizer of a folder from before tokenizer.json: byte-level BPE (vocab.json and
/// merges.txt: GPT-2, OPT, RoBERTa, Qwen) or WordPiece (vocab.txt: BERT). Which of them is read
/// from tokenizer_config.json, else from config.json, else taken to be GPT-2's or BERT's own;
/// special tokens come from the same files and added_tokens.json.
/// @throws recipes::UserError  naming a kind that is not known, or the line that is wrong
std::unique_ptr<Tokenizer> open_vocabulary_files(const std::filesystem::path& folder);

}  // namespace sterna::text
