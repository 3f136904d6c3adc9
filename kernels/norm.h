#pragma once

#include <cstdint>

#include "kernels/cpu.h"

namespace sterna::kernels {

struct NormShape {
  int64_t rows = 0;
  int64_t width = 0;
  float eps = 0;
};

/// y = weight * round_X(x * rstd), rstd = 1 / sqrt(mean(x^2) + eps) per row, statistics in float:
/// the order of rounding of Hugging Face's LlamaRMSNorm. X and Y are float or Bf16.
///
/// @param x       [rows, width]
/// @param weight  [width]
/// @param rstd    [rows], written; what the backward needs
template <class X, class Y>
void rms_norm(const NormShape& shape,
              const X* x,
              const float* weight,
              Y* y,
              float* rstd,
              CpuLevel level = cpu_level());

/// rstd of one row, as rms_norm has it. @param x  [width]
float rms_rstd(const float* x, int64_t width, float eps, CpuLevel level = cpu_level());

/// Tensors of rms_norm_backward.
template <class X, class Y>
struct NormGrad {
  const X* x = nullptr;
  const float* weight = nullptr;
  const float* rstd = nullptr;
  const Y* dy = nullptr;
  X* dx = nullptr;
  float* dweight = nullptr;  ///< [width], added to; null where the weight is frozen
};

/// With n = x * rstd:  dx = rstd (dy weight - n mean(dy weight n));  dweight += sum over rows of
/// dy round_X(n).
template <class X, class Y>
void rms_norm_backward(const NormShape& shape,
                       const NormGrad<X, Y>& tensors,
                       CpuLevel level = cpu_level());

}  // namespace sterna::kernels
