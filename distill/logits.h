#pragma once

#include <ATen/ATen.h>

namespace sterna::distill {

using at::Tensor;

/// Label of a position that carries no loss (padding, prompt).
inline constexpr int64_t kIgnoreLabel = -100;

/// Logits of N tokens over V words, with their labels, all on one device.
struct Logits {
  Tensor student;  ///< [N, V], contiguous
  Tensor teacher;  ///< [N, V], contiguous, or undefined
  Tensor labels;   ///< int64 [N]; negative: none
};

/// What logits say, one row a token: columns as the fields of kernels::LogitStats.
struct LogitFigures {
  Tensor table;  ///< fp64 [N, 8]

  Tensor label_ce() const { return table.select(1, 4); }
  Tensor teacher_label_ce() const { return table.select(1, 5); }
  Tensor soft_ce() const { return table.select(1, 6); }
  Tensor kl() const { return table.select(1, 7); }
};

/// Coefficients of the gradient, fp32 [N, 2]: column 0 pulls to the teacher, column 1 to the label.
using Pull = Tensor;

/// One fused pass over float or bf16 logits on the CPU; the reference elsewhere.
LogitFigures logit_figures(const Logits& logits);

/// Overwrites the student's logits with teacher * (p_s - p_t) + label * (p_s - onehot).
void logits_to_gradient_(Logits& logits, const LogitFigures& figures, const Pull& pull);

/// The definitions by whole-tensor operations, on any device, in fp64 where the logits are, else
/// in fp32. The figures are differentiable for the student's logits.
LogitFigures logit_figures_reference(const Logits& logits);
Tensor logit_gradient_reference(const Logits& logits, const Pull& pull);

}  // namespace sterna::distill
