#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "trainer/text/word_cache.h"

namespace sterna::text {

/// Turns the words that a pre-tokenizer cuts into ids (tokenizer.json's `model`). Safe to use from
/// several threads, each with a Scratch of its own.
class WordModel {
 public:
  /// Buffers of one encoding thread.
  struct Scratch {
    WordCache cache;
    std::vector<int32_t> symbols;
  };

  virtual ~WordModel() = default;

  /// Appends the ids of `word`.
  virtual void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const {
    encode_part(word, scratch, out);
  }

 protected:
  /// The same for a stretch that is always encoded alike: looked up before it is worked out.
  void encode_part(std::string_view part, Scratch& scratch, std::vector<int32_t>& out) const;

 private:
  /// Leaves the ids of `part` in scratch.symbols.
  virtual void encode_anew(std::string_view part, Scratch& scratch) const = 0;
};

}  // namespace sterna::text
