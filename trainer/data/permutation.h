#pragma once

#include <cstdint>

namespace sterna::data {

/// A permutation of 0..size-1 that is a pure function of (seed, epoch): a Feistel network over the
/// next even power of two whose results are walked until they fall into the range (Black and
/// Rogaway, "Ciphers with arbitrary finite domains"). No table is stored.
class Permutation {
 public:
  /// @param size  at least 1
  Permutation(int64_t size, int64_t seed, int64_t epoch);

  /// @param index  0 to size-1
  int64_t at(int64_t index) const;

 private:
  static constexpr int kRounds = 6;

  uint64_t size_;
  uint64_t half_mask_;
  int half_bits_;
  uint64_t keys_[kRounds];
};

}  // namespace sterna::data
