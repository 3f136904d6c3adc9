#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "trainer/data/config.h"
#include "trainer/text/tokenizer.h"

namespace sterna::data {

/// A training sample: T+1 ids, so T inputs and T targets, and which targets carry loss.
struct Sample {
  std::vector<int32_t> ids;   ///< T + 1
  std::vector<uint8_t> loss;  ///< T; 1 where ids[i + 1] is a target
  /// T; equal where two inputs belong to one document, whose tokens stand together. Attention and
  /// positions then keep to the document. Empty: the row is taken as one. All samples of a source
  /// have it or none.
  std::vector<int32_t> documents;
};

/// Packed samples of a tokenized text. The order is a pure function of (seed, epoch, global sample
/// index): it knows neither ranks nor where a run was resumed.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  /// Samples of one epoch.
  virtual int64_t size() const = 0;

  /// @param index  global sample index, 0, 1, 2, ...; epochs follow each other
  virtual Sample at(int64_t index) const = 0;

  /// Samples that belong together and follow each other: 2 with preferences, else 1.
  virtual int64_t together() const { return 1; }

  /// Tokens of one epoch.
  virtual int64_t tokens() const = 0;

  /// SHA-256 over content, tokenizer and options, as in the cache's name.
  virtual const std::string& fingerprint() const = 0;

  /// What a person should be told about the data ("token cache made", "3 documents were cut");
  /// empty where there is nothing.
  virtual const std::string& note() const = 0;
};

/// Text of a sample in which stretches that carry no loss stand between [[ and ]], and documents
/// that do not see each other are parted by a line "=====". The first id is never a target.
std::string show_sample(const Sample& sample, const text::Tokenizer& tokenizer);

/// Opens the recipe's `[data]`: tokenizes once into a memory-mapped cache (keyed by everything that
/// decides its tokens), then maps it.
/// @param seq_len  T
/// @param between  called between two documents that are tokenized; may throw
/// @throws recipes::UserError  no text, too little of it for one sample, no such special token
std::unique_ptr<SampleSource> open_samples(recipes::Section data,
                                           const text::Tokenizer& tokenizer,
                                           int64_t seq_len,
                                           int64_t seed,
                                           const std::function<void()>& between = {});

/// Where the token cache of a source lies. @param key  tokens_key()
std::filesystem::path token_cache_path(const SourceConfig& config, const std::string& key);

}  // namespace sterna::data
