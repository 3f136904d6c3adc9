#pragma once

#include <vector>

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

/// Columns of LogitFigures.
inline constexpr int64_t kFigures = 11;

/// How a divergence looks at logits: divided by the temperature, and, with a mixture above 0,
/// against c = mixture p_t + (1 - mixture) p_s.
struct View {
  double temperature = 1;
  double mixture = 0;
};

/// What logits say in one view, one row a token: columns as the fields of kernels::LogitStats.
struct LogitFigures {
  Tensor table;  ///< fp64 [N, kFigures]

  /// The student's largest probability; that of the teacher where it was passed as the student.
  Tensor confidence() const { return table.select(1, 1).reciprocal(); }
  Tensor label_ce() const { return table.select(1, 4); }
  Tensor teacher_label_ce() const { return table.select(1, 5); }
  Tensor soft_ce() const { return table.select(1, 6); }
  Tensor kl() const { return table.select(1, 7); }
  Tensor reverse_kl() const { return table.select(1, 8); }
  Tensor student_to_mixture() const { return table.select(1, 9); }
  Tensor teacher_to_mixture() const { return table.select(1, 10); }
};

/// Coefficients of the gradient, fp32 [N, 4]: columns as the fields of kernels::LogitPull.
using Pull = Tensor;

/// Figures of a view, and how strongly its gradient counts.
struct Viewed {
  View view;
  LogitFigures figures;
  Pull pull;
};

/// One fused pass over float or bf16 logits on the CPU; the reference elsewhere.
LogitFigures logit_figures(const Logits& logits, const View& view = {});

/// Overwrites the student's logits with the gradient for them of all views together; in each, what
/// kernels/logit_loss.h calls the gradient for the logits over the temperature.
void logits_to_gradient_(Logits& logits, const std::vector<Viewed>& views);

/// The definitions by whole-tensor operations, on any device, in fp64 where the logits are, else
/// in fp32. The figures are differentiable for the student's logits.
LogitFigures logit_figures_reference(const Logits& logits, const View& view = {});
Tensor logit_gradient_reference(const Logits& logits, const View& view, const Pull& pull);

}  // namespace sterna::distill
