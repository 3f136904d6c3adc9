#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <nlohmann/json_fwd.hpp>

#include "trainer/text/pipeline.h"

namespace sterna::text {

/// Builds what the JSON of a tokenizer.json says, with the side files that stand beside `file`.
/// @param fingerprint  SHA-256 over everything that decides ids
/// @param file  named in errors
/// @throws recipes::UserError  naming the component that is not supported
std::unique_ptr<Pipeline> build_tokenizer(const nlohmann::json& root,
                                          std::string fingerprint,
                                          const std::filesystem::path& file);

/// Reads a Hugging Face tokenizer.json with a byte-pair or WordPiece model.
/// @throws recipes::UserError  naming the component that is not supported
std::unique_ptr<Pipeline> open_tokenizer_json(const std::filesystem::path& file);

/// Splits a merge as it is written, "a b" or ["a", "b"], into its two pieces.
std::pair<std::string, std::string> split_merge(const std::string& merge);

}  // namespace sterna::text
