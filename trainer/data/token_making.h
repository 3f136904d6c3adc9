#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/data/config.h"
#include "trainer/data/documents.h"
#include "trainer/text/tokenizer.h"

namespace sterna::data {

/// A text to be tokenized.
struct Tokenizing {
  const SourceConfig& config;
  const text::Tokenizer& tokenizer;
  std::string key;                     ///< tokens_key()
  std::function<void()> between = {};  ///< called between two documents; may throw
};

/// Writes the token cache of a text, or of a part of it.
void make_token_cache(const std::filesystem::path& path,
                      const Tokenizing& what,
                      const ByteRange& part = {});

/// Less is tokenized in a second or so: others would not save what meeting them costs.
inline constexpr uint64_t kWorthSharing = uint64_t{4} << 20;

/// Processes that tokenize a text together, with a folder that all of them see.
struct Crew {
  int64_t rank = 0;
  int64_t size = 1;
  /// Calls the function on every process and returns, or throws, on all of them behind the last.
  std::function<void(const std::function<void()>&)> together = {};
  /// What the function says in process 0, in all of them.
  std::function<bool(const std::function<bool()>&)> as_first = {};
  std::function<void()> between = {};  ///< as in Tokenizing
  uint64_t least_bytes = kWorthSharing;
};

/// Makes those token caches of `[data]` that are not there, and are worth it, by all processes:
/// each tokenizes the documents that begin in its share of the bytes, and process 0 joins the
/// parts. The file is the one that a process makes alone. What is not made here, open_samples()
/// makes.
/// @return  what a person should be told, a line for each cache
std::vector<std::string> tokenize_together(const DataConfig& config,
                                           const text::Tokenizer& tokenizer,
                                           const Crew& crew);

}  // namespace sterna::data
