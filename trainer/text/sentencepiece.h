#pragma once

#include <filesystem>
#include <memory>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// Opens a SentencePiece `.model` with the library itself: its normalisation, its models (BPE and
/// unigram). Text of control pieces is plain text.
/// @throws recipes::UserError
std::unique_ptr<Tokenizer> open_sentencepiece(const std::filesystem::path& file);

}  // namespace sterna::text
