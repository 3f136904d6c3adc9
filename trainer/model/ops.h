#pragma once

#include <ATen/ATen.h>

namespace sterna::model {

using at::Tensor;

/// Operations of a decoder as single autograd nodes: gradients of parameters are added in fp32 to
/// buffers that the trainer owns, so micro-batches need no dense temporaries, and a frozen
/// parameter costs nothing. Fused kernels on the CPU for fp32 and bf16, ATen elsewhere.

/// Root mean square norm (arXiv:1910.07467) with the rounding of transformers.
struct RmsNorm {
  Tensor weight;  ///< fp32 [D]
  Tensor grad;    ///< fp32 [D], added to by backward; undefined where frozen
  double eps = 1e-5;

  /// @param x  [..., D], fp32 or the compute dtype
  /// @return   [..., D] in `dtype`
  Tensor forward(const Tensor& x, at::ScalarType dtype) const;
};

/// Layer norm (arXiv:1607.06450): (x - mean) / sqrt(variance + eps) * weight + bias, statistics in
/// fp32, by ATen's kernels.
struct LayerNorm {
  Tensor weight;     ///< fp32 [D]
  Tensor bias;       ///< fp32 [D]
  Tensor grad;       ///< fp32 [D], added to by backward; undefined where frozen
  Tensor bias_grad;  ///< fp32 [D]: the same for the bias
  double eps = 1e-5;

  /// @param x  [..., D], fp32 or the compute dtype
  /// @return   [..., D] in `dtype`
  Tensor forward(const Tensor& x, at::ScalarType dtype) const;
};

/// silu(gate) * up; saves its two inputs.
Tensor silu_mul(const Tensor& gate, const Tensor& up);

/// Rows of `matrix` [V, D] for int64 `tokens` of any shape. Backward adds rows to `grad`
/// (fp32 [V, D]); undefined where frozen.
/// @throws c10::Error  naming the first token outside [0, V)
Tensor embed_rows(const Tensor& tokens, const Tensor& matrix, const Tensor& grad);

}  // namespace sterna::model
