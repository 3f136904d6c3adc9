#pragma once

#include <functional>

#include <ATen/ATen.h>

#include "quant/encoded.h"

namespace sterna::quant::twins {

// The forward passes of the quantizers in ATen operations with straight-through estimators, so that
// autograd gives the gradients that backward() has in closed form. x is [S, n]: one scale a row.

/// Value of `rounded`, gradient of `t`.
inline Tensor straight_through(const Tensor& t, const Tensor& rounded) {
  return t + (rounded - t).detach();
}

/// Rounds what fp32 holds of `t`: ties such as those of weights near zero are fp32's.
inline Tensor round_ste(const Tensor& t) {
  return straight_through(t, t.to(at::kFloat).round().to(t.scalar_type()));
}

/// What encode rounds scales to, straight through.
inline Tensor scale_ste(const Tensor& scale, at::ScalarType dtype) {
  if (dtype == at::kFloat)
    return scale;
  const Tensor rounded = scale.to(at::kFloat).clamp_min(0x1p-14).to(dtype);
  return straight_through(scale, rounded.to(scale.scalar_type()));
}

inline Tensor affine(
    const Tensor& x, const Tensor& scale, const Tensor& zero, int64_t bits, at::ScalarType dtype) {
  const auto top = static_cast<double>((int64_t{1} << bits) - 1);
  const Tensor s = scale_ste(straight_through(scale, scale.clamp(1e-4, 1e4)), dtype);
  const Tensor z = straight_through(zero, zero.round().clamp(0, top));
  const Tensor q = (round_ste(x / s) + z).clamp(0, top);
  return (q - z) * s;
}

/// With the exact saturation gradient; `numel` of the whole matrix damps alpha's gradient.
inline Tensor stretched(
    const Tensor& x, const Tensor& alpha, bool four, int64_t numel, at::ScalarType dtype) {
  const double n = four ? 2.0 : 1.5;
  const double h = four ? 0.5 : 0.0;
  const double damp = 1.0 / std::sqrt(static_cast<double>(numel));
  const Tensor damped = straight_through(alpha * damp, alpha);
  const Tensor floored = straight_through(damped, damped.clamp_min(1e-5));
  const Tensor a = dtype == at::kFloat ? floored : scale_ste(floored / n, dtype) * n;
  const Tensor u = (x / a).clamp(-0.99, 0.99);
  return a * ((round_ste(u * n - h) + h) / n);
}

/// Clamped to +-clip, then straight through; the edge itself passes nothing.
inline Tensor clipped_identity(const Tensor& x, const Tensor& rounded, double clip) {
  return straight_through(x * (x.abs() < clip).to(x.scalar_type()), rounded);
}

}  // namespace sterna::quant::twins
