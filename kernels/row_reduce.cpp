#include "kernels/row_reduce.h"

#include "kernels/lanes.h"

namespace sterna::kernels {

float sum(const float* x, int64_t n) {
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        lanes[half] += load(x + i, count);
      });
  return add_lanes(lanes);
}

float sum_abs(const float* x, int64_t n, float clip) {
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        lanes[half] += least(magnitude(load(x + i, count)), all(clip));
      });
  return add_lanes(lanes);
}

float sum_squares(const float* x, int64_t n) {
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 v = load(x + i, count);
        lanes[half] += v * v;
      });
  return add_lanes(lanes);
}

MinMax min_max(const float* x, int64_t n) {
  if (n == 0)
    return {};
  Float8 low[2] = {all(x[0]), all(x[0])};
  Float8 high[2] = {all(x[0]), all(x[0])};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 v = load(x + i, count, x[0]);
        low[half] = least(v, low[half]);
        high[half] = most(v, high[half]);
      });
  return {fold_lanes(low, [](const Float8& a, const Float8& b) { return least(a, b); }),
          fold_lanes(high, [](const Float8& a, const Float8& b) { return most(a, b); })};
}

Kept sum_abs_above(const float* x, int64_t n, float clip, float threshold) {
  Float8 sums[2] = {};
  Int8 counts[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 size = least(magnitude(load(x + i, count)), all(clip));
        const Int8 kept = size > all(threshold);
        sums[half] += pick(kept, size, Float8{});
        counts[half] -= kept;  // true is -1
      });
  const Int8 eight = counts[0] + counts[1];
  int64_t total = 0;
  for (int lane = 0; lane < kEight; ++lane)
    total += eight[lane];
  return {add_lanes(sums), total};
}

}  // namespace sterna::kernels
