#pragma once

#include <span>
#include <string>

#include <ATen/ATen.h>

namespace sterna::run {

using at::Tensor;

/// A tensor that the optimizer moves: fp32, contiguous, in host memory or on a device.
struct Trained {
  std::string name;  ///< as in checkpoints
  Tensor value;
  Tensor grad;     ///< of the whole global step, before clipping
  Tensor moment1;  ///< allocated by the owner, zero at the start
  Tensor moment2;
  bool quantizer = false;  ///< belongs to a quantizer: has its own rate and never decays
  bool decays = false;
  double grad_factor = 1;  ///< of clipping
  double squared = -1;     ///< squared norm of the whole gradient; < 0: of `grad`
  int64_t applied = 1;     ///< updates of this tensor so far, this one included
};

struct AdamConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.0;
  bool bert = false;  ///< BertAdam: the moments' bias stays, each tensor is clipped by its own norm
};

/// Rates of one step.
struct Rates {
  double lr = 0;
  double lr_quantizer = 0;
  double decay = 1;  ///< factor of the weight decay
};

/// AdamW (Loshchilov and Hutter, arXiv:1711.05101) over all tensors of the host in one pass, the
/// same bits for any number of threads; on a device by operations on whole tensors.
void adamw_step(std::span<const Trained> tensors, const AdamConfig& config, const Rates& rates);

/// Sum of squares of all gradients, in fp64; in a fixed order where they are in host memory.
double squared_norm(std::span<const Trained> tensors);

}  // namespace sterna::run
