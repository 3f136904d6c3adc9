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
  int64_t label = -1;     ///< the word to predict, or negative: none
  float temperature = 1;  ///< both rows are divided by it before anything else
  float mixture = 0;      ///< p_t's share of the mixture c below; 0: no figures of it are wanted
};

/// What a row says, in nats; p_s and p_t are the softmax of student and teacher divided by the
/// temperature, c = mixture p_t + (1 - mixture) p_s. Figures that lack a teacher, a label or a
/// mixture are 0.
struct LogitStats {
  double student_max = 0;
  double student_sum = 0;  ///< sum over words of e^(logit - max)
  double teacher_max = 0;
  double teacher_sum = 0;
  double label_ce = 0;            ///< -log p_s[label]
  double teacher_label_ce = 0;    ///< -log p_t[label]
  double soft_ce = 0;             ///< -sum p_t log p_s
  double kl = 0;                  ///< sum p_t (log p_t - log p_s); 0 to the bit for equal rows
  double reverse_kl = 0;          ///< sum p_s (log p_s - log p_t); likewise
  double student_to_mixture = 0;  ///< sum p_s (log p_s - log c); likewise
  double teacher_to_mixture = 0;  ///< sum p_t (log p_t - log c); likewise
};

/// How strongly each part of the gradient counts; all but `label` need a teacher.
struct LogitPull {
  float teacher = 0;  ///< p_s - p_t
  float label = 0;    ///< p_s - onehot(label); ignored where the row has no label
  float reverse = 0;  ///< p_s (log p_s - log p_t - reverse_kl)
  float mixture = 0;  ///< p_s (log p_s - log c - student_to_mixture)
};

template <class S, class T>
LogitStats logit_stats(const LogitRow<S, T>& row, CpuLevel level = cpu_level());

/// out = the sum of the pull's parts: the gradient of
///   label * label_ce + teacher * soft_ce + reverse * reverse_kl
///   + mixture * (student_to_mixture + mixture_share / (1 - mixture_share) * teacher_to_mixture)
/// for the student's logits over the temperature. All but the label's part are exactly 0 for equal
/// rows.
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
