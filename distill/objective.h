#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "distill/dpo.h"
#include "distill/head_inputs.h"
#include "distill/hidden.h"
#include "distill/intervention.h"
#include "distill/logits.h"
#include "recipes/components.h"

namespace sterna::distill {

/// How many sums each term of the objective divides by; from labels alone, so known on the host
/// before the first forward pass of a step. Added up over micro-batches and ranks.
using Counts = std::vector<double>;  // one entry per term

/// One micro-batch's share of the loss.
struct HeadResult {
  Tensor sums;  ///< fp64 [terms], on the inputs' device; not divided by anything; 0 for "hidden"
  Tensor d_hidden;  ///< dtype of student_hidden [B, T, D]: gradient of sum_i weight_i sums_i /
                    ///< counts_i
};

/// The recipe's sections that an Objective reads, for `sterna list`.
std::vector<recipes::ComponentInfo> objective_sections();

/// A weighted sum of token losses on the logits: the divergences of distill/divergences.cpp, each
/// with a token weighting (uniform, TSLD). Walks the tokens in chunks and computes its own
/// gradient: no [B, T, V] tensor exists for student or teacher (distill/head_pass.h).
class Objective {
 public:
  /// Reads the recipe's `[kd]` section: `loss` (distill/term.h) and `chunk`, the tokens whose
  /// logits exist at a time (0: as many as 224 MB hold, at most 512 or one sequence).
  explicit Objective(recipes::Section section);
  ~Objective();
  Objective(Objective&&) noexcept;
  Objective& operator=(Objective&&) noexcept;

  std::vector<std::string> term_names() const;  ///< as in log.jsonl: "gt", "kl", "tsld"
  std::vector<double> term_weights() const;     ///< loss = sum of weight * sum / count
  bool needs_teacher() const;
  int64_t chunk() const;  ///< `kd.chunk`

  /// Whether TopWords are as much of the teacher's logits as the terms need.
  bool takes_top_words() const;

  /// `[kd.dpo]`: its terms come behind those of `kd.loss`.
  const Dpo& dpo() const;

  /// `[[kd.hidden]]` and `[kd.intervention]`: what student and teacher must go side by side for.
  const HiddenLoss& hidden() const;
  const Intervention& intervention() const;

  /// One site of the hidden-state loss, whose term is the last of all, named "hidden".
  /// @param sums  fp64 [terms]; the last is added to
  /// @return      gradient for the student's hidden state; undefined where nothing is compared
  Tensor compare_hidden(const std::string& site,
                        const Tensor& student,
                        const Tensor& teacher,
                        const Counts& totals,
                        const Tensor& sums) const;

  /// Micro-batches on which mean_confidence() of the teacher must be measured before run(), and
  /// what came of it; 0 where nothing needs it.
  int64_t batches_to_measure() const;
  void set_confidence(double confidence);

  /// @param labels  int64 [B, T] on the host: one micro-batch
  Counts counts(const Tensor& labels) const;

  /// Records nothing for autograd. A term whose total is 0 contributes nothing.
  ///
  /// @param totals     counts of the whole global step
  /// @param head_grad  fp32 [V, D] that the head's gradient is added to; undefined where frozen
  HeadResult run(const HeadInputs& inputs, const Counts& totals, Tensor head_grad) const;

 private:
  HeadResult run_terms(const HeadInputs& inputs,
                       const Counts& totals,
                       const Tensor& head_grad) const;

  struct Body;
  std::unique_ptr<Body> body_;
};

}  // namespace sterna::distill
