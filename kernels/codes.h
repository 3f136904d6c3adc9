#pragma once

#include <cstdint>

namespace sterna::kernels {

// Codes of one run of weights that share a scale, and the gradients that flow back through them.
// Rounding is to nearest, ties to even; divisions are true divisions, because a product with the
// reciprocal decides ties differently. Reductions follow row_reduce.h.

/// value = (q + shift) * scale for the integers q = lo .. hi; the scale is positive.
struct UniformGrid {
  float scale = 1;
  float lo = 0;
  float hi = 0;
  float shift = 0;         ///< 0.5 for grids without a zero, any number for float zero points
  bool half_away = false;  ///< ties go away from zero (BitDistiller) instead of to even
};

/// codes[i] = round(clamp(w[i] / scale - shift, lo, hi)) + add
void uniform_codes(const float* w, int64_t n, const UniformGrid& grid, int32_t add, int8_t* codes);

/// Sum of (w - value of its code)^2.
float uniform_error(const float* w, int64_t n, const UniformGrid& grid);

struct UniformGradient {
  float scale = 0;    ///< sum of g (q - [inside] w / scale), where q is the clamped integer
  float outside = 0;  ///< sum of g over the weights whose rounded value is clamped
};

/// dw[i] = g[i] where lo <= round(w[i] / scale) <= hi, else 0; for grids without shift.
UniformGradient uniform_gradient(
    const float* w, const float* g, int64_t n, const UniformGrid& grid, float* dw);

/// The same for those who clamp before they round (LSQ, PACT): a weight is inside where
/// lo <= w / scale - shift <= hi, and dw[i] = g[i] there, else 0.
/// @return  sum of g t, t = value / scale - w / scale inside, else the outermost value / scale
float clamped_gradient(
    const float* w, const float* g, int64_t n, const UniformGrid& grid, float* dw);

/// codes[i] = -1 where w[i] < 0, else 0: the two halves of a grid shifted by a half.
void sign_codes(const float* w, int64_t n, int8_t* codes);

/// dw[i] = g[i] where |w[i] / alpha| <= 1, else 0.
/// @return  sum of g sign(w), where the sign of 0 is `of_zero`
float sign_gradient(
    const float* w, const float* g, int64_t n, float alpha, float of_zero, float* dw);

/// A range that weights are clipped to.
struct ClipRange {
  float lo = 0;
  float hi = 0;
  bool closed = true;  ///< a weight on an edge is inside
};

struct ClipGradient {
  float below = 0;  ///< sum of g over the weights under the range
  float above = 0;
};

/// dw[i] = g[i] inside the range, else 0.
ClipGradient clip_gradient(
    const float* w, const float* g, int64_t n, const ClipRange& range, float* dw);

/// codes[i] = how many of the ascending thresholds lie below w[i] / scale (strictly)
void level_codes(
    const float* w, int64_t n, float scale, const float* thresholds, int64_t count, int8_t* codes);

/// value = alpha (round(clamp(w / alpha, -0.99, 0.99) steps - shift) + shift) / steps (ParetoQ).
struct StretchedGrid {
  float alpha = 1;
  float steps = 2;      ///< 2 for four levels, 1.5 for three
  float shift = 0.5f;   ///< 0.5 for four levels, 0 for three
  float outer = 0.75f;  ///< what the gradient of alpha takes beyond +-0.99 alpha
};

/// codes[i] = round(clamp(w[i] / alpha, -0.99, 0.99) steps - shift)
void stretched_codes(const float* w, int64_t n, const StretchedGrid& grid, int8_t* codes);

float stretched_error(const float* w, int64_t n, const StretchedGrid& grid);

/// dw[i] = g[i] where |w[i] / alpha| <= 0.99, else 0.
/// @return  sum of g t, t = +-outer beyond, value / alpha - w / alpha within
float stretched_gradient(
    const float* w, const float* g, int64_t n, const StretchedGrid& grid, float* dw);

/// codes[i] = sign(w[i]) where min(|w[i]|, clip) > threshold, else 0
void ternary_codes(const float* w, int64_t n, float clip, float threshold, int8_t* codes);

/// dw[i] = g[i] where |w[i]| < clip, else 0
void clipped_gradient(const float* w, const float* g, int64_t n, float clip, float* dw);

}  // namespace sterna::kernels
