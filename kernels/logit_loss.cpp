// Divergences between two rows of logits and cross-entropy with a label, with gradient.
//   soft_ce = lse(z_s) - sum p_t z_s;  kl = sum p_t (z_t - z_s) - lse(z_t) + lse(z_s)
//   d soft_ce = d kl    = p_s - p_t               d label_ce = p_s - onehot
//   d reverse_kl        = p_s (log p_s/p_t - reverse_kl)
//   c = b p_t + (1 - b) p_s:  d (b kl(p_t|c) + (1-b) kl(p_s|c)) = (1-b) p_s (log p_s/c - kl(p_s|c))
// With d = log p_t/p_s, log c/p_s = log(1 + b (e^d - 1)): no difference of large numbers.
// Blocks of terms are summed in float, blocks in double: kl, a small difference of large sums, is
// good to 1e-7 nats, and 0 for equal rows.
#include "kernels/logit_loss.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/fused_variants.h"

namespace sterna::kernels {

namespace {

double value(float x) {
  return x;
}
double value(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

/// log softmax of the logits over the temperature, in double.
template <class T>
std::vector<double> log_probabilities(const T* logits, int64_t vocab, double temperature) {
  std::vector<double> z(static_cast<size_t>(vocab));
  std::transform(logits, logits + vocab, z.begin(), [&](T x) { return value(x) / temperature; });
  const double max = z.empty() ? 0 : *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double x : z)
    sum += std::exp(x - max);
  for (double& x : z)
    x -= max + std::log(sum);
  return z;
}

/// log of mixture p_t + (1 - mixture) p_s.
double log_mixture(double student, double teacher, double mixture) {
  return std::log(mixture * std::exp(teacher) + (1 - mixture) * std::exp(student));
}

}  // namespace

template <class S, class T>
LogitStats logit_stats(const LogitRow<S, T>& row, CpuLevel level) {
  return level >= CpuLevel::kAvx512 ? avx512::logit_stats(row) : avx2::logit_stats(row);
}

template <class S, class T>
void logit_gradient(
    const LogitRow<S, T>& row, const LogitStats& stats, LogitPull pull, S* out, CpuLevel level) {
  if (level >= CpuLevel::kAvx512)
    avx512::logit_gradient(row, stats, pull, out);
  else
    avx2::logit_gradient(row, stats, pull, out);
}

template <class S, class T>
LogitStats logit_stats_reference(const LogitRow<S, T>& row) {
  LogitStats stats;
  const std::vector<double> student = log_probabilities(row.student, row.vocab, row.temperature);
  if (row.label >= 0)
    stats.label_ce = -student[static_cast<size_t>(row.label)];
  if (row.teacher == nullptr)
    return stats;
  const std::vector<double> teacher = log_probabilities(row.teacher, row.vocab, row.temperature);
  if (row.label >= 0)
    stats.teacher_label_ce = -teacher[static_cast<size_t>(row.label)];
  for (size_t v = 0; v < teacher.size(); ++v) {
    stats.soft_ce -= std::exp(teacher[v]) * student[v];
    stats.kl += std::exp(teacher[v]) * (teacher[v] - student[v]);
    stats.reverse_kl += std::exp(student[v]) * (student[v] - teacher[v]);
    if (row.mixture <= 0)
      continue;
    const double log_c = log_mixture(student[v], teacher[v], row.mixture);
    stats.student_to_mixture += std::exp(student[v]) * (student[v] - log_c);
    stats.teacher_to_mixture += std::exp(teacher[v]) * (teacher[v] - log_c);
  }
  return stats;
}

template <class S, class T>
void logit_gradient_reference(const LogitRow<S, T>& row, LogitPull pull, double* out) {
  const std::vector<double> student = log_probabilities(row.student, row.vocab, row.temperature);
  const bool labelled = row.label >= 0;
  for (int64_t v = 0; v < row.vocab; ++v) {
    out[v] = labelled ? pull.label * (std::exp(student[v]) - (v == row.label ? 1 : 0)) : 0;
  }
  if (row.teacher == nullptr)
    return;
  const std::vector<double> teacher = log_probabilities(row.teacher, row.vocab, row.temperature);
  const LogitStats stats = logit_stats_reference(row);
  for (int64_t v = 0; v < row.vocab; ++v) {
    const double p_s = std::exp(student[v]);
    out[v] += pull.teacher * (p_s - std::exp(teacher[v]));
    out[v] += pull.reverse * p_s * (student[v] - teacher[v] - stats.reverse_kl);
    if (row.mixture <= 0)
      continue;
    const double apart = student[v] - log_mixture(student[v], teacher[v], row.mixture);
    out[v] += pull.mixture * p_s * (apart - stats.student_to_mixture);
  }
}

#define STERNA_INSTANTIATE(S, T)                                                                   \
  template LogitStats logit_stats(const LogitRow<S, T>&, CpuLevel);                                \
  template void logit_gradient(const LogitRow<S, T>&, const LogitStats&, LogitPull, S*, CpuLevel); \
  template LogitStats logit_stats_reference(const LogitRow<S, T>&);                                \
  template void logit_gradient_reference(const LogitRow<S, T>&, LogitPull, double*);
STERNA_INSTANTIATE(float, float)
STERNA_INSTANTIATE(float, Bf16)
STERNA_INSTANTIATE(Bf16, float)
STERNA_INSTANTIATE(Bf16, Bf16)

}  // namespace sterna::kernels
