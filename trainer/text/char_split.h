#pragma once

#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "trainer/text/pre_tokenizer.h"

namespace sterna::text {

/// A pre-tokenizer that cuts by what single characters are: Digits, Punctuation, WhitespaceSplit,
/// Whitespace, BertPreTokenizer. Null for another type.
std::unique_ptr<PreTokenizer> make_char_split(const std::string& type, const nlohmann::json& spec);

}  // namespace sterna::text
