#include "distill/logits.h"

#include <ATen/Parallel.h>

#include "kernels/logit_loss.h"

namespace sterna::distill {
namespace {

using kernels::Bf16;
using kernels::LogitPull;
using kernels::LogitRow;
using kernels::LogitStats;

constexpr int64_t kFigures = sizeof(LogitStats) / sizeof(double);
static_assert(kFigures == 8, "LogitFigures names its columns");

bool fusable(const Tensor& t) {
  return !t.defined() || (t.is_cpu() && t.is_contiguous() &&
                          (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16));
}

bool fusable(const Logits& logits) {
  return fusable(logits.student) && fusable(logits.teacher);
}

/// Calls f(student, teacher) with pointers to the first row, of the types that the tensors hold.
template <class F>
void with_rows(const Logits& logits, F f) {
  const auto with_teacher = [&](auto* student) {
    if (!logits.teacher.defined())
      f(student, static_cast<const float*>(nullptr));
    else if (logits.teacher.scalar_type() == at::kFloat)
      f(student, static_cast<const float*>(logits.teacher.const_data_ptr()));
    else
      f(student, static_cast<const Bf16*>(logits.teacher.const_data_ptr()));
  };
  if (logits.student.scalar_type() == at::kFloat)
    with_teacher(static_cast<float*>(logits.student.data_ptr()));
  else
    with_teacher(static_cast<Bf16*>(logits.student.data_ptr()));
}

template <class S, class T>
LogitRow<S, T> row_at(S* student, const T* teacher, int64_t row, const Logits& logits) {
  const int64_t vocab = logits.student.size(1);
  const T* taught = teacher == nullptr ? nullptr : teacher + row * vocab;
  return {student + row * vocab, taught, vocab, logits.labels.const_data_ptr<int64_t>()[row]};
}

Tensor wide(const Tensor& logits) {
  return logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
}

/// -log_probabilities[label] per row, 0 where there is no label.
Tensor at_label(const Tensor& log_probabilities, const Tensor& labels) {
  const Tensor index = labels.clamp_min(0).unsqueeze(1);
  return (-log_probabilities.gather(1, index).squeeze(1)) * (labels >= 0);
}

}  // namespace

LogitFigures logit_figures(const Logits& logits) {
  if (!fusable(logits))
    return logit_figures_reference(logits);
  const int64_t tokens = logits.student.size(0);
  const Tensor table = at::empty({tokens, kFigures}, at::kDouble);
  auto* figures = static_cast<LogitStats*>(table.data_ptr());
  with_rows(logits, [&](auto* student, const auto* teacher) {
    at::parallel_for(0, tokens, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        figures[row] = kernels::logit_stats(row_at(student, teacher, row, logits));
    });
  });
  return {table};
}

void logits_to_gradient_(Logits& logits, const LogitFigures& figures, const Pull& pull) {
  if (!fusable(logits)) {
    logits.student.copy_(logit_gradient_reference(logits, pull));
    return;
  }
  const auto* stats = static_cast<const LogitStats*>(figures.table.const_data_ptr());
  const auto* pulls = static_cast<const LogitPull*>(pull.const_data_ptr());
  const int64_t vocab = logits.student.size(1);
  with_rows(logits, [&](auto* student, const auto* teacher) {
    at::parallel_for(0, logits.student.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const auto in = row_at(student, teacher, row, logits);
        kernels::logit_gradient(in, stats[row], pulls[row], student + row * vocab);
      }
    });
  });
}

LogitFigures logit_figures_reference(const Logits& logits) {
  const Tensor student = wide(logits.student).log_softmax(1);
  Tensor teacher_ce, soft_ce, kl;
  const Tensor none = at::zeros_like(student.select(1, 0));
  if (logits.teacher.defined()) {
    const Tensor teacher = wide(logits.teacher.detach()).log_softmax(1);
    teacher_ce = at_label(teacher, logits.labels);
    soft_ce = -(teacher.exp() * student).sum(1);
    kl = (teacher.exp() * (teacher - student)).sum(1);
  } else {
    teacher_ce = soft_ce = kl = none;
  }
  const Tensor label_ce = at_label(student, logits.labels);
  return {
      at::stack({none, none, none, none, label_ce, teacher_ce, soft_ce, kl}, 1).to(at::kDouble)};
}

Tensor logit_gradient_reference(const Logits& logits, const Pull& pull) {
  const Tensor student = wide(logits.student).softmax(1);
  const Tensor strength = pull.to(student.options());
  const Tensor to_label = (strength.select(1, 1) * (logits.labels >= 0)).unsqueeze(1);
  Tensor gradient = to_label * student;
  gradient.scatter_add_(1, logits.labels.clamp_min(0).unsqueeze(1), -to_label);
  if (logits.teacher.defined()) {
    const Tensor teacher = wide(logits.teacher).softmax(1).to(student.options());
    gradient += strength.select(1, 0).unsqueeze(1) * (student - teacher);
  }
  return gradient;
}

}  // namespace sterna::distill
