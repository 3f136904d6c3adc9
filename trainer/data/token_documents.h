#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/config.h"
#include "trainer/data/documents.h"
#include "trainer/text/tokenizer.h"

namespace sterna::data {

/// A document as a model reads it.
struct TokenDocument {
  std::vector<int32_t> ids;
  std::vector<uint8_t> loss;  ///< of each id: whether it is to be predicted; empty: all are
};

/// Calls `take` for each document of a source, in order.
/// @param part  only those that begin in these bytes of the files; not with max_documents, and not
///              with format tokens
/// @throws recipes::UserError  naming the file and line that is not as the format says, or the
///         option that the tokenizer cannot fulfil
void for_each_tokens(const SourceConfig& config,
                     const text::Tokenizer& tokenizer,
                     const std::function<void(const TokenDocument&)>& take,
                     const ByteRange& part = {});

/// 64 hex digits over everything that decides what for_each_tokens gives.
/// @throws recipes::UserError  a file that cannot be read, or no such special token
std::string tokens_key(const SourceConfig& config, const text::Tokenizer& tokenizer);

}  // namespace sterna::data
