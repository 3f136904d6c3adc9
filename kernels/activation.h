#pragma once

#include <cstdint>

#include "kernels/cpu.h"

namespace sterna::kernels {

/// y = e^x, within 2 units in the last place: the exponential of every kernel here.
void exponential(const float* x, float* y, int64_t size, CpuLevel level = cpu_level());

/// y = round(silu(gate)) * up, silu(g) = g / (1 + e^-g), computed in float; the inner rounding to T
/// is what a model of separate operations does. T is float or Bf16.
template <class T>
void silu_mul(const T* gate, const T* up, T* y, int64_t size, CpuLevel level = cpu_level());

/// Tensors of silu_mul_backward, all of `size` values.
template <class T>
struct SiluMulGrad {
  const T* dy = nullptr;
  const T* gate = nullptr;
  const T* up = nullptr;
  T* d_gate = nullptr;  ///< may be gate itself
  T* d_up = nullptr;    ///< may be up itself
};

/// d_up = dy silu(gate);  d_gate = dy up s (1 + gate (1 - s)), s = 1 / (1 + e^-gate).
template <class T>
void silu_mul_backward(const SiluMulGrad<T>& tensors, int64_t size, CpuLevel level = cpu_level());

}  // namespace sterna::kernels
