#include "kernels/codes.h"

#include <cmath>

#include "kernels/lanes.h"

namespace sterna::kernels {
namespace {

constexpr float kStretch = 0.99f;

inline float clamp(float v, float lo, float hi) {
  return least(most(v, lo), hi);
}

/// rint becomes one vector instruction; the rounding mode is the default, to nearest even.
inline float round_even(float v) {
  return __builtin_rintf(v);
}

inline int8_t to_code(float v) {
  return static_cast<int8_t>(static_cast<int32_t>(v));
}

inline float stretched(float v, const StretchedGrid& grid) {
  return round_even(clamp(v, -kStretch, kStretch) * grid.steps - grid.shift);
}

}  // namespace

void uniform_codes(
    const float* w, int64_t n, const UniformGrid& grid, int32_t shift, int8_t* codes) {
  const UniformGrid by = grid;
  const auto add = static_cast<float>(shift);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] = to_code(round_even(clamp(w[i] / by.scale, by.lo, by.hi)) + add);
}

float uniform_error(const float* w, int64_t n, const UniformGrid& grid) {
  const UniformGrid by = grid;
  return sum_lanes(n, [=](int64_t i) {
    const float miss = round_even(clamp(w[i] / by.scale, by.lo, by.hi)) * by.scale - w[i];
    return miss * miss;
  });
}

UniformGradient uniform_gradient(
    const float* w, const float* g, int64_t n, const UniformGrid& grid, float* dw) {
  const UniformGrid by = grid;
  float scale[kLanes] = {};
  float outside[kLanes] = {};
  for_lanes(n, [&](int64_t i, int lane) {
    const float v = w[i] / by.scale;
    const float rounded = round_even(v);
    const float q = clamp(rounded, by.lo, by.hi);
    const bool inside = rounded >= by.lo && rounded <= by.hi;
    scale[lane] += g[i] * (inside ? q - v : q);
    outside[lane] += inside ? 0.0f : g[i];
    dw[i] = inside ? g[i] : 0.0f;
  });
  const auto plus = [](float a, float b) { return a + b; };
  return {fold_lanes(scale, plus), fold_lanes(outside, plus)};
}

void stretched_codes(const float* w, int64_t n, const StretchedGrid& grid, int8_t* codes) {
  const StretchedGrid by = grid;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] = to_code(stretched(w[i] / by.alpha, by));
}

float stretched_error(const float* w, int64_t n, const StretchedGrid& grid) {
  const StretchedGrid by = grid;
  const float step = by.alpha / by.steps;
  return sum_lanes(n, [=](int64_t i) {
    const float miss = (stretched(w[i] / by.alpha, by) + by.shift) * step - w[i];
    return miss * miss;
  });
}

float stretched_gradient(
    const float* w, const float* g, int64_t n, const StretchedGrid& grid, float* dw) {
  const StretchedGrid by = grid;
  float lanes[kLanes] = {};
  for_lanes(n, [&](int64_t i, int lane) {
    const float v = w[i] / by.alpha;
    const float within = (stretched(v, by) + by.shift) / by.steps - v;
    const float beyond = v > 0 ? by.outer : -by.outer;
    const bool inside = v >= -kStretch && v <= kStretch;
    lanes[lane] += g[i] * (inside ? within : beyond);
    dw[i] = inside ? g[i] : 0.0f;
  });
  return fold_lanes(lanes, [](float a, float b) { return a + b; });
}

void ternary_codes(const float* w, int64_t n, float clip, float threshold, int8_t* codes) {
  // Nothing of a clipped weight can lie above a threshold that is not below the clip.
  const float above = threshold < clip ? threshold : HUGE_VALF;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<int8_t>((w[i] > above ? 1 : 0) - (w[i] < -above ? 1 : 0));
}

void clipped_gradient(const float* w, const float* g, int64_t n, float clip, float* dw) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    dw[i] = std::fabs(w[i]) < clip ? g[i] : 0.0f;
}

}  // namespace sterna::kernels
