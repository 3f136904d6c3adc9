#pragma once

#include <cstdint>

namespace sterna::kernels {

// Statistics of one row or group, added in an order that depends on its length alone: element i
// goes to lane i mod 16, the lanes are added by a fixed tree. The result has the same bits on every
// instruction set and for every number of threads.

struct MinMax {
  float min = 0;
  float max = 0;
};

struct Kept {
  float sum = 0;      ///< of |x| over the elements kept
  int64_t count = 0;  ///< how many they are
};

/// 0 for an empty run, here and below.
float sum(const float* x, int64_t n);

/// Sum of min(|x|, clip).
float sum_abs(const float* x, int64_t n, float clip);

float sum_squares(const float* x, int64_t n);

MinMax min_max(const float* x, int64_t n);

/// Elements whose min(|x|, clip) lies above `threshold` (strictly).
Kept sum_abs_above(const float* x, int64_t n, float clip, float threshold);

}  // namespace sterna::kernels
