#pragma once

#include <cstdint>

namespace sterna::kernels {

constexpr int kLanes = 16;

/// Folds the lanes pairwise: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
template <class T, class Fold>
T fold_lanes(T* lanes, Fold fold) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j)
      lanes[j] = fold(lanes[j], lanes[j + width]);
  return lanes[0];
}

/// Calls body(i, lane) for 0 <= i < n with lane = i mod 16, so that the compiler can vectorise
/// over lanes. The body must not read what it wrote for another i.
template <class Body>
inline void for_lanes(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane)
      body(i + lane, lane);
  }
  for (int lane = 0; i + lane < n; ++lane)
    body(i + lane, lane);
}

/// Sum of term(i) in the order of this folder.
template <class Term>
inline float sum_lanes(int64_t n, Term term) {
  float lanes[kLanes] = {};
  for_lanes(n, [&](int64_t i, int lane) { lanes[lane] += term(i); });
  return fold_lanes(lanes, [](float a, float b) { return a + b; });
}

inline float least(float a, float b) {
  return a < b ? a : b;
}

inline float most(float a, float b) {
  return a > b ? a : b;
}

}  // namespace sterna::kernels
