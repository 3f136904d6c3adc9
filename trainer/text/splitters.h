#pragma once

#include <memory>
#include <string>

#include "trainer/text/pre_tokenizer.h"

namespace sterna::text {

/// The regular expression of GPT-2's pre-tokenizer, which ByteLevel with use_regex stands for.
extern const char* const kGpt2Pattern;
extern const char* const kLlama3Pattern;
extern const char* const kQwen2Pattern;

/// A splitter written by hand for one of the patterns above; null for every other pattern. Its
/// parts are those of the regular expression (every match and every gap is a part).
std::unique_ptr<PreTokenizer> make_known_splitter(const std::string& pattern);

}  // namespace sterna::text
