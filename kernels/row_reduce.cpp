#include "kernels/row_reduce.h"

#include <cmath>

#include "kernels/lanes.h"

namespace sterna::kernels {

float sum(const float* x, int64_t n) {
  return sum_lanes(n, [x](int64_t i) { return x[i]; });
}

float sum_abs(const float* x, int64_t n, float clip) {
  return sum_lanes(n, [x, clip](int64_t i) { return least(std::fabs(x[i]), clip); });
}

MinMax min_max(const float* x, int64_t n) {
  if (n == 0)
    return {};
  float low[kLanes];
  float high[kLanes];
  for (int lane = 0; lane < kLanes; ++lane)
    low[lane] = high[lane] = x[0];
  for_lanes(n, [&](int64_t i, int lane) {
    low[lane] = least(x[i], low[lane]);
    high[lane] = most(x[i], high[lane]);
  });
  return {fold_lanes(low, least), fold_lanes(high, most)};
}

Kept sum_abs_above(const float* x, int64_t n, float clip, float threshold) {
  float sums[kLanes] = {};
  int32_t counts[kLanes] = {};
  for_lanes(n, [&](int64_t i, int lane) {
    const float magnitude = least(std::fabs(x[i]), clip);
    sums[lane] += magnitude > threshold ? magnitude : 0.0f;
    counts[lane] += magnitude > threshold ? 1 : 0;
  });
  return {fold_lanes(sums, [](float a, float b) { return a + b; }),
          fold_lanes(counts, [](int32_t a, int32_t b) { return a + b; })};
}

}  // namespace sterna::kernels
