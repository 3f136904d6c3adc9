#include "kernels/codes.h"

#include <cmath>

#include "kernels/lanes.h"

namespace sterna::kernels {
namespace {

constexpr float kStretch = 0.99f;

// Loops over single elements that have neither sum nor condition are left to the compiler, which
// packs codes into bytes better than vector types do.

inline float clamp_one(float v, float lo, float hi) {
  const float above = v > lo ? v : lo;
  return above < hi ? above : hi;
}

/// rint becomes one vector instruction; the rounding mode is the default, to nearest even.
inline int8_t to_code(float v) {
  return static_cast<int8_t>(static_cast<int32_t>(__builtin_rintf(v)));
}

/// Value of the code of v = w / alpha, in units of alpha.
STERNA_INLINE Float8 stretched(const Float8& v, const StretchedGrid& by) {
  const Float8 code = round_even(clamp(v, all(-kStretch), all(kStretch)) * by.steps - by.shift);
  return (code + by.shift) / by.steps;
}

}  // namespace

void uniform_codes(
    const float* w, int64_t n, const UniformGrid& grid, int32_t shift, int8_t* codes) {
  const UniformGrid by = grid;
  const auto add = static_cast<int8_t>(shift);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<int8_t>(to_code(clamp_one(w[i] / by.scale, by.lo, by.hi)) + add);
}

float uniform_error(const float* w, int64_t n, const UniformGrid& grid) {
  const UniformGrid by = grid;
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 x = load(w + i, count);
        const Float8 q = round_even(clamp(x / by.scale, all(by.lo), all(by.hi)));
        const Float8 miss = q * by.scale - x;
        lanes[half] += miss * miss;  // absent weights are 0, and 0 is a level
      });
  return add_lanes(lanes);
}

UniformGradient uniform_gradient(
    const float* w, const float* g, int64_t n, const UniformGrid& grid, float* dw) {
  const UniformGrid by = grid;
  Float8 scale[2] = {};
  Float8 outside[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 up = load(g + i, count);
        const Float8 v = load(w + i, count) / by.scale;
        // One step beyond the grid is as far outside as any.
        const Float8 rounded = round_even(clamp(v, all(by.lo - 1), all(by.hi + 1)));
        const Float8 q = clamp(rounded, all(by.lo), all(by.hi));
        const Int8 inside = rounded == q;
        const Float8 through = pick(inside, up, Float8{});
        scale[half] += up * pick(inside, q - v, q);
        outside[half] += up - through;
        store(dw + i, count, through);
      });
  return {add_lanes(scale), add_lanes(outside)};
}

void stretched_codes(const float* w, int64_t n, const StretchedGrid& grid, int8_t* codes) {
  const StretchedGrid by = grid;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] = to_code(clamp_one(w[i] / by.alpha, -kStretch, kStretch) * by.steps - by.shift);
}

float stretched_error(const float* w, int64_t n, const StretchedGrid& grid) {
  const StretchedGrid by = grid;
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        // Absent weights must not miss: without a level at zero they are given one that exists.
        const Float8 x = load(w + i, count, by.shift * by.alpha / by.steps);
        const Float8 miss = stretched(x / by.alpha, by) * by.alpha - x;
        lanes[half] += miss * miss;
      });
  return add_lanes(lanes);
}

float stretched_gradient(
    const float* w, const float* g, int64_t n, const StretchedGrid& grid, float* dw) {
  const StretchedGrid by = grid;
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 up = load(g + i, count);
        const Float8 v = load(w + i, count) / by.alpha;
        const Int8 inside = magnitude(v) <= kStretch;
        const Float8 beyond = pick(v > 0.0f, all(by.outer), all(-by.outer));
        lanes[half] += up * pick(inside, stretched(v, by) - v, beyond);
        store(dw + i, count, pick(inside, up, Float8{}));
      });
  return add_lanes(lanes);
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
