#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/text/tokenizer.h"

namespace sterna::data {

/// A training sample: T+1 ids, so T inputs and T targets, and which targets carry loss.
struct Sample {
  std::vector<int32_t> ids;   ///< T + 1
  std::vector<uint8_t> loss;  ///< T; 1 where ids[i + 1] is a target
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

  /// Tokens of one epoch.
  virtual int64_t tokens() const = 0;

  /// SHA-256 over content and tokenizer, as in the cache's name.
  virtual const std::string& fingerprint() const = 0;
};

/// Opens the recipe's `[data]`: tokenizes once into a memory-mapped cache (keyed by content,
/// tokenizer, separator and start/end rules), then maps it.
/// @param seq_len  T
std::unique_ptr<SampleSource> open_samples(recipes::Section data,
                                           const text::Tokenizer& tokenizer,
                                           int64_t seq_len,
                                           int64_t seed);

}  // namespace sterna::data
