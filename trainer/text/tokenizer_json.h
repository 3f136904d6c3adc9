#pragma once

#include <filesystem>
#include <memory>
#include <utility>

#include "trainer/text/pipeline.h"

namespace sterna::text {

/// Reads a Hugging Face tokenizer.json with a byte-pair model, and the side files beside it.
/// @throws recipes::UserError  naming the component that is not supported
std::unique_ptr<Pipeline> open_tokenizer_json(const std::filesystem::path& file);

/// Splits a merge as it is written, "a b" or ["a", "b"], into its two pieces.
std::pair<std::string, std::string> split_merge(const std::string& merge);

}  // namespace sterna::text
