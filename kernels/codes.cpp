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

/// To nearest, ties as the grid says.
STERNA_INLINE Float8 round_as(const UniformGrid& by, const Float8& v) {
  const Float8 even = round_even(v);
  if (!by.half_away)
    return even;
  const Float8 rest = v - even;
  const Float8 up = pick((rest == 0.5f) & (v > 0.0f), all(1), Float8{});
  return even + up - pick((rest == -0.5f) & (v < 0.0f), all(1), Float8{});
}

/// Value of the code of v = w / alpha, in units of alpha.
STERNA_INLINE Float8 stretched(const Float8& v, const StretchedGrid& by) {
  const Float8 code = round_even(clamp(v, all(-kStretch), all(kStretch)) * by.steps - by.shift);
  return (code + by.shift) / by.steps;
}

}  // namespace

void uniform_codes(const float* w, int64_t n, const UniformGrid& grid, int32_t add, int8_t* codes) {
  const UniformGrid by = grid;
  const auto more = static_cast<int8_t>(add);
  if (by.half_away) {
    for (int64_t i = 0; i < n; ++i)
      codes[i] = static_cast<int8_t>(
          static_cast<int32_t>(std::round(clamp_one(w[i] / by.scale - by.shift, by.lo, by.hi))) +
          add);
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] =
        static_cast<int8_t>(to_code(clamp_one(w[i] / by.scale - by.shift, by.lo, by.hi)) + more);
}

float uniform_error(const float* w, int64_t n, const UniformGrid& grid) {
  const UniformGrid by = grid;
  // Absent weights must not miss: they are given a level.
  const float level = (clamp_one(0, by.lo, by.hi) + by.shift) * by.scale;
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 x = load(w + i, count, level);
        const Float8 q = round_as(by, clamp(x / by.scale - by.shift, all(by.lo), all(by.hi)));
        const Float8 miss = (q + by.shift) * by.scale - x;
        lanes[half] += miss * miss;
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
        const Float8 rounded = round_as(by, clamp(v, all(by.lo - 1), all(by.hi + 1)));
        const Float8 q = clamp(rounded, all(by.lo), all(by.hi));
        const Int8 inside = rounded == q;
        const Float8 through = pick(inside, up, Float8{});
        scale[half] += up * pick(inside, q - v, q);
        outside[half] += up - through;
        store(dw + i, count, through);
      });
  return {add_lanes(scale), add_lanes(outside)};
}

float clamped_gradient(
    const float* w, const float* g, int64_t n, const UniformGrid& grid, float* dw) {
  const UniformGrid by = grid;
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 up = load(g + i, count);
        const Float8 v = load(w + i, count) / by.scale;
        const Float8 at = v - by.shift;
        const Float8 clamped = clamp(at, all(by.lo), all(by.hi));
        const Int8 inside = clamped == at;
        const Float8 value = round_as(by, clamped) + by.shift;
        lanes[half] += up * pick(inside, value - v, value);
        store(dw + i, count, pick(inside, up, Float8{}));
      });
  return add_lanes(lanes);
}

void sign_codes(const float* w, int64_t n, int8_t* codes) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<int8_t>(w[i] < 0 ? -1 : 0);
}

float sign_gradient(
    const float* w, const float* g, int64_t n, float alpha, float of_zero, float* dw) {
  Float8 lanes[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 up = load(g + i, count);
        const Float8 x = load(w + i, count);
        const Float8 positive = pick(x > 0.0f, all(1), all(of_zero));
        lanes[half] += up * pick(x < 0.0f, all(-1), positive);
        store(dw + i, count, pick(magnitude(x / alpha) <= 1.0f, up, Float8{}));
      });
  return add_lanes(lanes);
}

ClipGradient clip_gradient(
    const float* w, const float* g, int64_t n, const ClipRange& range, float* dw) {
  const ClipRange by = range;
  Float8 below[2] = {};
  Float8 above[2] = {};
  for_eights(
      n, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        const Float8 up = load(g + i, count);
        const Float8 x = load(w + i, count);
        const Int8 over = by.closed ? x > by.hi : x >= by.hi;
        const Int8 under = by.closed ? x < by.lo : x <= by.lo;
        above[half] += pick(over, up, Float8{});
        below[half] += pick(under, up, Float8{});
        store(dw + i, count, pick(over | under, Float8{}, up));
      });
  return {add_lanes(below), add_lanes(above)};
}

void level_codes(
    const float* w, int64_t n, float scale, const float* thresholds, int64_t count, int8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    const float v = w[i] / scale;
    int code = 0;
    for (int64_t t = 0; t < count; ++t)
      code += v > thresholds[t] ? 1 : 0;
    codes[i] = static_cast<int8_t>(code);
  }
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
