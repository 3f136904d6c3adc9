#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// Ids with the tokenizer's special tokens in their places.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;  ///< of each id: BERT's token_type_ids
};

/// Encodes a text, or two, as a model was trained to read them: `[CLS] a [SEP] b [SEP]` and so on,
/// as Hugging Face tokenizers' encode(a, b, add_special_tokens=True).
/// @param max_length  ids at most, special tokens included: the longer text is cut at its end
///        until they are equally long ("longest_first")
/// @throws recipes::UserError  where max_length has no room for the special tokens
Encoding encode_surrounded(const Tokenizer& tokenizer,
                           std::string_view a,
                           std::optional<std::string_view> b = std::nullopt,
                           std::optional<int64_t> max_length = std::nullopt);

}  // namespace sterna::text
