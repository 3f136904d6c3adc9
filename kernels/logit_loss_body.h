// The rows of kernels/logit_loss.h for any vector type V.
//
// Both rows are read three times: for their maxima, for the sums, for the gradient. A row of bf16
// logits is 96 KiB at 49,152 words, so the second and third time it comes from the L2 cache, and
// computing an exponential again is cheaper than storing it.
#pragma once

#include "kernels/logit_loss.h"
#include "kernels/simd_math.h"

namespace sterna::kernels {
namespace {

/// Stands behind a row's end: e^kNoWord is 0, and differences of two stay finite.
inline constexpr float kNoWord = -1e30f;

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

/// Four running sums in double, fed by vectors that sum up a block in float.
template <class V>
struct RowSums {
  double student = 0;  // e_s
  double teacher = 0;  // e_t
  double cross = 0;    // e_t * (student logit - its maximum)
  double apart = 0;    // e_t * ((teacher logit - its maximum) - (student logit - its maximum))
};

template <class V, class T>
double sum_exp(const T* x, int64_t size, float max) {
  const auto top = V::set(max);
  double total = 0;
  for (int64_t block = 0; block < size; block += kBlockVectors * V::kLanes) {
    const int64_t next = block + kBlockVectors * V::kLanes;
    auto sum = V::set(0);
    const auto take = [&](typename V::F v) { sum = V::add(sum, vexp<V>(V::sub(v, top))); };
    walk<V>(
        block,
        next < size ? next : size,
        [&](int64_t i) { take(V::load(x + i)); },
        [&](int64_t i, int64_t n) { take(load_tail<V>(x + i, n, kNoWord)); });
    total += lane_sum<V>(sum);
  }
  return total;
}

template <class V, class S, class T>
RowSums<V> row_sums(const LogitRow<S, T>& row, float student_max, float teacher_max) {
  const auto top_s = V::set(student_max);
  const auto top_t = V::set(teacher_max);
  RowSums<V> total;
  for (int64_t block = 0; block < row.vocab; block += kBlockVectors * V::kLanes) {
    const int64_t next = block + kBlockVectors * V::kLanes;
    auto student = V::set(0), teacher = student, cross = student, apart = student;
    const auto take = [&](typename V::F s, typename V::F t) {
      const auto below_s = V::sub(s, top_s);
      const auto below_t = V::sub(t, top_t);
      const auto e_t = vexp<V>(below_t);
      student = V::add(student, vexp<V>(below_s));
      teacher = V::add(teacher, e_t);
      cross = V::fma(e_t, below_s, cross);
      apart = V::fma(e_t, V::sub(below_t, below_s), apart);
    };
    walk<V>(
        block,
        next < row.vocab ? next : row.vocab,
        [&](int64_t i) { take(V::load(row.student + i), V::load(row.teacher + i)); },
        [&](int64_t i, int64_t n) {
          take(load_tail<V>(row.student + i, n, kNoWord),
               load_tail<V>(row.teacher + i, n, kNoWord));
        });
    total.student += lane_sum<V>(student);
    total.teacher += lane_sum<V>(teacher);
    total.cross += lane_sum<V>(cross);
    total.apart += lane_sum<V>(apart);
  }
  return total;
}

template <class V, class S, class T>
LogitStats stats_body(const LogitRow<S, T>& row) {
  LogitStats stats;
  const float student_max = row_max<V>(row.student, row.vocab);
  stats.student_max = student_max;
  if (row.teacher == nullptr) {
    stats.student_sum = sum_exp<V>(row.student, row.vocab, student_max);
  } else {
    const float teacher_max = row_max<V>(row.teacher, row.vocab);
    const RowSums<V> sums = row_sums<V>(row, student_max, teacher_max);
    const double log_student = __builtin_log(sums.student);
    const double log_teacher = __builtin_log(sums.teacher);
    stats.student_sum = sums.student;
    stats.teacher_max = teacher_max;
    stats.teacher_sum = sums.teacher;
    stats.soft_ce = log_student - sums.cross / sums.teacher;
    stats.kl = sums.apart / sums.teacher - log_teacher + log_student;
    if (row.label >= 0)
      stats.teacher_label_ce = log_teacher + (teacher_max - word(row.teacher, row.label));
  }
  if (row.label >= 0) {
    const double below = static_cast<double>(student_max) - word(row.student, row.label);
    stats.label_ce = __builtin_log(stats.student_sum) + below;
  }
  return stats;
}

/// The gradient at the label's word, in double: a rounded p_s could not be mended afterwards.
template <class S, class T>
float gradient_at_label(const LogitRow<S, T>& row, const LogitStats& stats, LogitPull pull) {
  const double p_s = __builtin_exp(word(row.student, row.label) - stats.student_max);
  const double student = p_s / stats.student_sum;
  double value = pull.label * (student - 1);
  if (row.teacher != nullptr) {
    const double p_t = __builtin_exp(word(row.teacher, row.label) - stats.teacher_max);
    value += pull.teacher * (student - p_t / stats.teacher_sum);
  }
  return static_cast<float>(value);
}

template <class V, class S, class T>
void gradient_body(const LogitRow<S, T>& row, const LogitStats& stats, LogitPull pull, S* out) {
  const bool labelled = row.label >= 0;
  const float at_label = labelled ? gradient_at_label(row, stats, pull) : 0.0f;
  const auto top_s = V::set(static_cast<float>(stats.student_max));
  const auto top_t = V::set(static_cast<float>(stats.teacher_max));
  const auto inverse_s = V::set(static_cast<float>(1 / stats.student_sum));
  const auto inverse_t = V::set(static_cast<float>(1 / stats.teacher_sum));
  const auto to_teacher = V::set(pull.teacher);
  const auto to_label = V::set(labelled ? pull.label : 0.0f);
  const auto p_s = [&](typename V::F s) { return V::mul(vexp<V>(V::sub(s, top_s)), inverse_s); };
  if (row.teacher == nullptr) {
    map<V>(row.student, row.student, out, row.vocab, [&](typename V::F s, typename V::F) {
      return V::mul(to_label, p_s(s));
    });
  } else {
    map<V>(row.student, row.teacher, out, row.vocab, [&](typename V::F s, typename V::F t) {
      const auto p = p_s(s);
      // Subtracted before anything is multiplied: equal rows must give exactly 0.
      const auto apart = V::sub(p, V::mul(vexp<V>(V::sub(t, top_t)), inverse_t));
      return V::fma(to_label, p, V::mul(to_teacher, apart));
    });
  }
  if (labelled)
    store_tail<V>(out + row.label, 1, V::set(at_label));
}

}  // namespace
}  // namespace sterna::kernels
