#pragma once

#include <cstdint>

#include "kernels/cpu.h"

namespace sterna::kernels {

/// One token's logits over V words. S and T are float or Bf16.
template <class S, class T>
struct LogitRow {
  const S* student = nullptr;  ///< [V]
  const T* teacher = nullptr;  ///< [V], or null where no term needs a teacher
  int64_t vocab = 0;
  int64_t label = -1;  ///< the word to predict, or negative: none
};

/// What a row says, in nats; p_s and p_t are the softmax of student and teacher. Figures that lack
/// a teacher or a label are 0.
struct LogitStats {
  double student_max = 0;
  double student_sum = 0;  ///< sum over words of e^(logit - max)
  double teacher_max = 0;
  double teacher_sum = 0;
  double label_ce = 0;          ///< -log p_s[label]
  double teacher_label_ce = 0;  ///< -log p_t[label]
  double soft_ce = 0;           ///< -sum p_t log p_s
  double kl = 0;                ///< sum p_t (log p_t - log p_s); 0 to the bit for equal rows
};

/// How strongly a row is pulled to the teacher's distribution and to the label.
struct LogitPull {
  float teacher = 0;
  float label = 0;  ///< ignored where the row has no label
};

template <class S, class T>
LogitStats logit_stats(const LogitRow<S, T>& row, CpuLevel level = cpu_level());

/// out = teacher * (p_s - p_t) + label * (p_s - onehot(label)): the gradient of
/// teacher * soft_ce + label * label_ce for the student's logits, exactly 0 for equal rows.
///
/// @param stats  of the same row at the same level
/// @param out    [V]; may be row.student itself
template <class S, class T>
void logit_gradient(const LogitRow<S, T>& row,
                    const LogitStats& stats,
                    LogitPull pull,
                    S* out,
                    CpuLevel level = cpu_level());

/// The definitions in double that the two above are tested against.
template <class S, class T>
LogitStats logit_stats_reference(const LogitRow<S, T>& row);
template <class S, class T>
void logit_gradient_reference(const LogitRow<S, T>& row, LogitPull pull, double* out);

}  // namespace sterna::kernels
