#pragma once

#include <cstdint>

namespace sterna::kernels {

// Codes of one run of weights that share a scale, and the gradients that flow back through them.
// Rounding is to nearest, ties to even; divisions are true divisions, because a product with the
// reciprocal decides ties differently. Reductions follow row_reduce.h.

/// Integers lo .. hi times `scale`; the scale is positive.
struct UniformGrid {
  float scale = 1;
  float lo = 0;
  float hi = 0;
};

/// codes[i] = round(clamp(w[i] / scale, lo, hi)) + shift
void uniform_codes(
    const float* w, int64_t n, const UniformGrid& grid, int32_t shift, int8_t* codes);

/// Sum of (w - value of its code)^2.
float uniform_error(const float* w, int64_t n, const UniformGrid& grid);

struct UniformGradient {
  float scale = 0;    ///< sum of g (q - [inside] w / scale), where q is the clamped integer
  float outside = 0;  ///< sum of g over the weights whose rounded value is clamped
};

/// dw[i] = g[i] where lo <= round(w[i] / scale) <= hi, else 0.
UniformGradient uniform_gradient(
    const float* w, const float* g, int64_t n, const UniformGrid& grid, float* dw);

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
