#pragma once

#include <cstdint>

namespace sterna::kernels {

/// value(x) = clamp(round((x - origin) * inverse), lo, hi) * step + origin
struct ActGrid {
  float origin = 0;
  float inverse = 1;  ///< of the step, as the scheme computes it
  float step = 1;
  float lo = 0;  ///< integers, as is hi
  float hi = 0;
};

/// y[i] = value(x[i]); y may be x. Rounding is to nearest, ties to even. NaN stays NaN, so that a
/// damaged activation is not hidden; a grid of infinite step gives NaN everywhere.
void fake_quantize(const float* x, int64_t n, const ActGrid& grid, float* y);

}  // namespace sterna::kernels
