#pragma once

#include <cmath>
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
    return scale.clamp_min(1e-30);
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

/// scale (integer + shift), clamped to lo .. hi before rounding (LSQ, PACT).
inline Tensor clamped(const Tensor& x, const Tensor& scale, double lo, double hi, double shift) {
  return (round_ste((x / scale - shift).clamp(lo, hi)) + shift) * scale;
}

/// scale as the parameter of LSQ, whose gradient is divided by sqrt(numel * top).
inline Tensor damped_step(const Tensor& scale, int64_t numel, double top, at::ScalarType dtype) {
  const double damp = 1.0 / std::sqrt(static_cast<double>(numel) * top);
  const Tensor damped = straight_through(scale * damp, scale);
  return scale_ste(straight_through(damped, damped.clamp_min(1e-5)), dtype);
}

/// One bit: sign(w), 0 counting as positive; the scale's gradient is the sign's everywhere.
inline Tensor sign(const Tensor& x, const Tensor& scale) {
  const Tensor held = scale.detach();
  const Tensor signs = at::where(x < 0, at::full_like(x, -1.0), at::ones_like(x)).detach();
  const Tensor passed = (x / held).clamp(-1, 1) * held;
  return straight_through(passed, signs * held) + (scale - held) * signs;
}

/// The clip gamma mean|w|, whose mean is part of the graph.
inline Tensor pact(const Tensor& x, const Tensor& gamma, int64_t bits, at::ScalarType dtype) {
  const auto top = static_cast<double>((int64_t{1} << (bits - 1)) - 1);
  const Tensor scale = scale_ste(gamma * x.abs().mean(1, true) / top, dtype);
  return clamped(x, scale, -top, top, 0);
}

/// 2^bits levels from lo to hi; only the clamp passes gradients.
inline Tensor clips(const Tensor& x, const Tensor& lo, const Tensor& hi, int64_t bits) {
  const auto top = static_cast<double>((int64_t{1} << bits) - 1);
  const Tensor inside = at::minimum(at::maximum(x, lo), hi);
  const Tensor scale = (hi - lo) / top;
  return straight_through(inside, (round_ste((inside - lo) / scale) * scale + lo).detach());
}

/// A range from the weights, each end times a fraction; the integer zero point is a constant.
inline Tensor ranged(
    const Tensor& x, const Tensor& upper, const Tensor& lower, int64_t bits, at::ScalarType dtype) {
  const auto top = static_cast<double>((int64_t{1} << bits) - 1);
  const Tensor min = lower * x.amin(1, true);
  const Tensor range = (upper * x.amax(1, true) - min).clamp_min(1e-5);
  const Tensor scale = scale_ste(range / top, dtype);
  const Tensor zero = (-(min / scale).round()).clamp(0, top).detach();
  return ((round_ste(x / scale) + zero).clamp(0, top) - zero) * scale;
}

/// Levels of either sign with a scale of their own.
inline Tensor sided(const Tensor& x, const Tensor& levels, at::ScalarType dtype) {
  const Tensor above = scale_ste(x.amax(1, true).clamp_min(0), dtype);
  const Tensor below = scale_ste((-x.amin(1, true)).clamp_min(0), dtype);
  const Tensor scale = at::where(x < 0, below, above);
  const Tensor u = x / scale;
  const Tensor code = (u.detach().unsqueeze(-1) - levels).abs().argmin(-1);
  return straight_through(u, levels.index({code})) * scale;
}

/// Clamped to +-clip, then straight through; the edge itself passes nothing.
inline Tensor clipped_identity(const Tensor& x, const Tensor& rounded, double clip) {
  return straight_through(x * (x.abs() < clip).to(x.scalar_type()), rounded);
}

}  // namespace sterna::quant::twins
