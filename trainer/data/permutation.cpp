#include "trainer/data/permutation.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "kernels/mix.h"

namespace sterna::data {

Permutation::Permutation(int64_t size, int64_t seed, int64_t epoch)
    : size_(static_cast<uint64_t>(size)) {
  if (size < 1) {
    throw std::invalid_argument("Permutation: size must be at least 1");
  }
  const int bits = std::bit_width(size_ - 1);
  half_bits_ = std::max((bits + 1) / 2, 1);
  half_mask_ = (uint64_t{1} << half_bits_) - 1;
  uint64_t key =
      kernels::mix(kernels::mix(static_cast<uint64_t>(seed)) ^ static_cast<uint64_t>(epoch));
  for (uint64_t& round : keys_) {
    key = kernels::mix(key);
    round = key;
  }
}

int64_t Permutation::at(int64_t index) const {
  auto x = static_cast<uint64_t>(index);
  if (x >= size_) {
    throw std::out_of_range("Permutation: index " + std::to_string(index) + " of " +
                            std::to_string(size_));
  }
  do {
    uint64_t left = x >> half_bits_;
    uint64_t right = x & half_mask_;
    for (const uint64_t key : keys_) {
      const uint64_t next = left ^ (kernels::mix(right ^ key) & half_mask_);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= size_);
  return static_cast<int64_t>(x);
}

}  // namespace sterna::data
