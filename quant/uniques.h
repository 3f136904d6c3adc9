#pragma once

#include <cstdint>
#include <vector>

#include "quant/groups.h"

namespace sterna::quant {

/// The different bf16 values among the weights that share a codebook, ascending: at most 65,536
/// however many weights there are (eDKM, arXiv:2309.00964).
class Uniques {
 public:
  /// Of one run of `n` weights.
  Uniques(const float* w, int64_t n);

  /// Of a whole matrix.
  Uniques(const float* w, const Groups& groups);

  int64_t size() const { return static_cast<int64_t>(values.size()); }

  /// Where the value of this weight, one of those counted, stands.
  size_t index(float w) const;

  /// Sum of |w| over all weights, divided by their number; 0 where there are none.
  double mean_abs() const;

  std::vector<double> values;
  std::vector<double> counts;  ///< how many weights have that value

 private:
  void add(uint16_t key, double count);

  std::vector<uint16_t> keys_;   // ascending as the values are
  std::vector<uint16_t> where_;  // index by key; empty where few weights make a search cheaper
};

}  // namespace sterna::quant
