// The rows of kernels/logit_loss.h for any vector type V.
//
// Both rows are read three times, four with a mixture: for their maxima, for the sums, for the
// gradient. A row of bf16 logits is 96 KiB at 49,152 words, so the second and third time it comes
// from the L2 cache, and computing an exponential again is cheaper than storing it.
#pragma once

#include "kernels/logit_loss.h"
#include "kernels/simd_math.h"

namespace sterna::kernels {
namespace {

/// Stands behind a row's end: e^kNoWord is 0, and differences of two stay finite.
inline constexpr float kNoWord = -1e30f;

/// Where log p_t - log p_s is larger, p_s is nothing beside p_t: e^-30 is 1e-13. More would cost
/// log p_t - log c its last digits.
inline constexpr float kFarApart = 30;

/// Vectors that are summed in float before they are added up in double.
inline constexpr int64_t kBlockVectors = 128;

template <class V, class T>
float row_max(const T* x, int64_t size) {
  auto best = V::set(-__builtin_inff());
  walk<V>(
      0,
      size,
      [&](int64_t i) { best = V::max(V::load(x + i), best); },
      [&](int64_t i, int64_t n) { best = V::max(load_tail<V>(x + i, n, kNoWord), best); });
  float lanes[V::kLanes];
  V::store(lanes, best);
  float result = lanes[0];
  for (int64_t i = 1; i < V::kLanes; ++i)
    result = lanes[i] > result ? lanes[i] : result;
  return result;
}

template <class T>
float word(const T* x, int64_t index) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return x[index];
  } else {
    const uint32_t bits = static_cast<uint32_t>(x[index].bits) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
  }
}

/// Adds up N sums over the words of both rows: `take(student, teacher, sums)` adds one vector to
/// each. Blocks are summed in float and added up in double.
template <class V, int N, class S, class T, class Take>
void add_words(const LogitRow<S, T>& row, double (&totals)[N], Take take) {
  for (int64_t block = 0; block < row.vocab; block += kBlockVectors * V::kLanes) {
    const int64_t next = block + kBlockVectors * V::kLanes;
    typename V::F sums[N];
    for (auto& sum : sums)
      sum = V::set(0);
    walk<V>(
        block,
        next < row.vocab ? next : row.vocab,
        [&](int64_t i) { take(V::load(row.student + i), V::load(row.teacher + i), sums); },
        [&](int64_t i, int64_t n) {
          take(load_tail<V>(row.student + i, n, kNoWord),
               load_tail<V>(row.teacher + i, n, kNoWord),
               sums);
        });
    for (int i = 0; i < N; ++i)
      totals[i] += lane_sum<V>(sums[i]);
  }
}

template <class V, class T>
double sum_exp(const T* x, int64_t size, float max, float inverse) {
  const auto top = V::set(max);
  const auto by = V::set(inverse);
  double total = 0;
  for (int64_t block = 0; block < size; block += kBlockVectors * V::kLanes) {
    const int64_t next = block + kBlockVectors * V::kLanes;
    auto sum = V::set(0);
    const auto take = [&](typename V::F v) {
      sum = V::add(sum, vexp<V>(V::mul(V::sub(v, top), by)));
    };
    walk<V>(
        block,
        next < size ? next : size,
        [&](int64_t i) { take(V::load(x + i)); },
        [&](int64_t i, int64_t n) { take(load_tail<V>(x + i, n, kNoWord)); });
    total += lane_sum<V>(sum);
  }
  return total;
}

/// What turns the logits of both rows into probabilities and their ratio, one vector at a time.
template <class V>
struct Both {
  using F = typename V::F;
  F top_s, top_t, by, inverse_s, inverse_t, shift, share;

  template <class S, class T>
  Both(const LogitRow<S, T>& row, const LogitStats& stats)
      : top_s(V::set(static_cast<float>(stats.student_max))),
        top_t(V::set(static_cast<float>(stats.teacher_max))),
        by(V::set(1 / row.temperature)),
        inverse_s(V::set(static_cast<float>(1 / stats.student_sum))),
        inverse_t(V::set(static_cast<float>(1 / stats.teacher_sum))),
        shift(V::set(static_cast<float>(__builtin_log(stats.student_sum) -
                                        __builtin_log(stats.teacher_sum)))),
        share(V::set(row.mixture)) {}

  F p_s(F s) const { return V::mul(vexp<V>(V::mul(V::sub(s, top_s), by)), inverse_s); }
  F p_t(F t) const { return V::mul(vexp<V>(V::mul(V::sub(t, top_t), by)), inverse_t); }
  /// log p_t - log p_s
  F ratio(F s, F t) const {
    const F below_s = V::mul(V::sub(s, top_s), by);
    return V::add(V::sub(V::mul(V::sub(t, top_t), by), below_s), shift);
  }
  /// log c - log p_s
  F mixed(F capped_ratio) const {
    const F apart = V::sub(vexp<V>(capped_ratio), V::set(1.0f));
    return vlog<V>(V::fma(share, apart, V::set(1.0f)));
  }
  static F capped(F ratio) { return V::min(V::set(kFarApart), ratio); }
};

template <class V, class S, class T>
void add_mixture(const LogitRow<S, T>& row, LogitStats& stats) {
  using F = typename V::F;
  const Both<V> both(row, stats);
  double totals[2] = {};
  add_words<V>(row, totals, [&](F s, F t, F(&sums)[2]) {
    const F ratio = both.capped(both.ratio(s, t));
    const F mixed = both.mixed(ratio);
    sums[0] = V::fma(both.p_s(s), mixed, sums[0]);
    sums[1] = V::fma(both.p_t(t), V::sub(ratio, mixed), sums[1]);
  });
  stats.student_to_mixture = 0 - totals[0];
  stats.teacher_to_mixture = totals[1];
}

/// Sums over words: e_s, e_t, e_t * (student logit below its maximum), e_t and e_s times how far
/// the rows lie apart.
template <class V, class S, class T>
void compare(const LogitRow<S, T>& row, LogitStats& stats) {
  using F = typename V::F;
  const F top_s = V::set(static_cast<float>(stats.student_max));
  const F top_t = V::set(static_cast<float>(stats.teacher_max));
  const F by = V::set(1 / row.temperature);
  double totals[5] = {};
  add_words<V>(row, totals, [&](F s, F t, F(&sums)[5]) {
    const F below_s = V::mul(V::sub(s, top_s), by);
    const F below_t = V::mul(V::sub(t, top_t), by);
    const F e_s = vexp<V>(below_s);
    const F e_t = vexp<V>(below_t);
    sums[0] = V::add(sums[0], e_s);
    sums[1] = V::add(sums[1], e_t);
    sums[2] = V::fma(e_t, below_s, sums[2]);
    sums[3] = V::fma(e_t, V::sub(below_t, below_s), sums[3]);
    sums[4] = V::fma(e_s, V::sub(below_s, below_t), sums[4]);
  });
  const double log_student = __builtin_log(totals[0]);
  const double log_teacher = __builtin_log(totals[1]);
  stats.student_sum = totals[0];
  stats.teacher_sum = totals[1];
  stats.soft_ce = log_student - totals[2] / totals[1];
  stats.kl = totals[3] / totals[1] - log_teacher + log_student;
  stats.reverse_kl = totals[4] / totals[0] - log_student + log_teacher;
}

/// -log p[label] of a row.
template <class T>
double cross_entropy(const T* x, int64_t label, double max, double sum, double temperature) {
  return __builtin_log(sum) + (max - word(x, label)) / temperature;
}

template <class V, class S, class T>
LogitStats stats_body(const LogitRow<S, T>& row) {
  LogitStats stats;
  stats.student_max = row_max<V>(row.student, row.vocab);
  if (row.teacher == nullptr) {
    const auto max = static_cast<float>(stats.student_max);
    stats.student_sum = sum_exp<V>(row.student, row.vocab, max, 1 / row.temperature);
  } else {
    stats.teacher_max = row_max<V>(row.teacher, row.vocab);
    compare<V>(row, stats);
    if (row.mixture > 0)
      add_mixture<V>(row, stats);
    if (row.label >= 0)
      stats.teacher_label_ce = cross_entropy(
          row.teacher, row.label, stats.teacher_max, stats.teacher_sum, row.temperature);
  }
  if (row.label >= 0)
    stats.label_ce = cross_entropy(
        row.student, row.label, stats.student_max, stats.student_sum, row.temperature);
  return stats;
}

/// The gradient at the label's word, in double: a rounded p_s could not be mended afterwards.
template <class S, class T>
float gradient_at_label(const LogitRow<S, T>& row, const LogitStats& stats, LogitPull pull) {
  const double below_s = (word(row.student, row.label) - stats.student_max) / row.temperature;
  const double student = __builtin_exp(below_s) / stats.student_sum;
  double value = pull.label * (student - 1);
  if (row.teacher == nullptr)
    return static_cast<float>(value);
  const double below_t = (word(row.teacher, row.label) - stats.teacher_max) / row.temperature;
  const double teacher = __builtin_exp(below_t) / stats.teacher_sum;
  value += pull.teacher * (student - teacher);
  const double shift = __builtin_log(stats.student_sum) - __builtin_log(stats.teacher_sum);
  const double ratio = below_t - below_s + shift;
  if (pull.reverse != 0)
    value -= pull.reverse * student * (ratio + stats.reverse_kl);
  if (pull.mixture != 0) {
    const double capped = ratio < kFarApart ? ratio : kFarApart;
    const double mixed = __builtin_log(1 + row.mixture * (__builtin_exp(capped) - 1));
    value -= pull.mixture * student * (mixed + stats.student_to_mixture);
  }
  return static_cast<float>(value);
}

/// Where the teacher's distribution is not only subtracted but divided by.
template <class V, class S, class T>
void ratio_gradient(const LogitRow<S, T>& row, const LogitStats& stats, LogitPull pull, S* out) {
  using F = typename V::F;
  const Both<V> both(row, stats);
  const F to_label = V::set(row.label >= 0 ? pull.label : 0.0f);
  const F to_teacher = V::set(pull.teacher);
  const F reverse = V::set(-pull.reverse);
  const F mixture = V::set(-pull.mixture);
  const F reverse_kl = V::set(static_cast<float>(stats.reverse_kl));
  const F to_mixture = V::set(static_cast<float>(stats.student_to_mixture));
  map<V>(row.student, row.teacher, out, row.vocab, [&](F s, F t) {
    const F p = both.p_s(s);
    const F ratio = both.ratio(s, t);
    F log_parts = V::fma(reverse, V::add(ratio, reverse_kl), to_label);
    if (pull.mixture != 0)
      log_parts = V::fma(mixture, V::add(both.mixed(both.capped(ratio)), to_mixture), log_parts);
    return V::fma(p, log_parts, V::mul(to_teacher, V::sub(p, both.p_t(t))));
  });
}

template <class V, class S, class T>
void gradient_body(const LogitRow<S, T>& row, const LogitStats& stats, LogitPull pull, S* out) {
  using F = typename V::F;
  const bool labelled = row.label >= 0;
  const float at_label = labelled ? gradient_at_label(row, stats, pull) : 0.0f;
  const Both<V> both(row, stats);
  const F to_teacher = V::set(pull.teacher);
  const F to_label = V::set(labelled ? pull.label : 0.0f);
  if (row.teacher == nullptr) {
    map<V>(row.student, row.student, out, row.vocab, [&](F s, F) {
      return V::mul(to_label, both.p_s(s));
    });
  } else if (pull.reverse != 0 || pull.mixture != 0) {
    ratio_gradient<V>(row, stats, pull, out);
  } else {
    map<V>(row.student, row.teacher, out, row.vocab, [&](F s, F t) {
      const F p = both.p_s(s);
      // Subtracted before anything is multiplied: equal rows must give exactly 0.
      return V::fma(to_label, p, V::mul(to_teacher, V::sub(p, both.p_t(t))));
    });
  }
  if (labelled)
    store_tail<V>(out + row.label, 1, V::set(at_label));
}

}  // namespace
}  // namespace sterna::kernels
