#pragma once

#include <memory>

#include <nlohmann/json_fwd.hpp>

#include "trainer/text/pre_tokenizer.h"

namespace sterna::text {

// Pre-tokenizers that hand on another text than they were given.

/// @param raw  hands on bytes as they are, not spelled as characters
std::unique_ptr<PreTokenizer> make_byte_level(const nlohmann::json& spec, bool raw);

std::unique_ptr<PreTokenizer> make_metaspace(const nlohmann::json& spec);

}  // namespace sterna::text
