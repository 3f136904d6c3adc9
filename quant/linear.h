#pragma once

#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "quant/act_quantizer.h"
#include "quant/adapter.h"

namespace sterna::quant {

using at::Tensor;

/// y = act(x) W^T + b, the only matrix product of a model. Knows neither optimizer nor quantizer:
/// the trainer writes the quantized weight into `weight` once per optimizer step and reads `grad`.
struct Linear {
  std::string name;  ///< Hugging Face module path, e.g. "model.layers.3.mlp.down_proj"
  Tensor weight;     ///< compute dtype [N, K], no autograd history, requires_grad off
  Tensor bias;       ///< compute dtype or fp32 [N], or undefined; requires_grad off
  /// fp32 [N, K] where the weight is trained: backward adds dy^T x of every micro-batch in fp32.
  /// Undefined where frozen.
  Tensor grad;
  Tensor bias_grad;                  ///< fp32 [N]: the same for the bias
  std::shared_ptr<Adapter> adapter;  ///< null without one; its output is added
  /// Rounds x before anything reads it; null without one. Backward rounds x anew: beside x, which
  /// layers of one input share, nothing is kept.
  std::shared_ptr<ActQuantizer> act;

  /// @param x  [..., K]
  /// @return   [..., N] in the compute dtype of `weight`
  Tensor forward(const Tensor& x) const;
};

}  // namespace sterna::quant
