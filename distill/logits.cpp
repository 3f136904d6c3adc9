#include "distill/logits.h"

#include <cmath>

#include <ATen/Parallel.h>

#include "kernels/logit_loss.h"

namespace sterna::distill {
namespace {

using kernels::Bf16;
using kernels::LogitPull;
using kernels::LogitRow;
using kernels::LogitStats;

static_assert(sizeof(LogitStats) == kFigures * sizeof(double), "LogitFigures names its columns");
static_assert(sizeof(LogitPull) == 4 * sizeof(float), "Pull names its columns");

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

template <class S, class T>
LogitRow<S, T> seen(LogitRow<S, T> row, const View& view) {
  row.temperature = static_cast<float>(view.temperature);
  row.mixture = static_cast<float>(view.mixture);
  return row;
}

/// Writes the gradient of row `index` in one view.
template <class S, class T>
void view_gradient(const LogitRow<S, T>& row, const Viewed& by, int64_t index, S* out) {
  const auto* stats = static_cast<const LogitStats*>(by.figures.table.const_data_ptr());
  const auto* pulls = static_cast<const LogitPull*>(by.pull.const_data_ptr());
  kernels::logit_gradient(seen(row, by.view), stats[index], pulls[index], out);
}

Tensor log_softmax(const Tensor& logits, const View& view) {
  const Tensor wide = logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
  return (wide / view.temperature).log_softmax(1);
}

/// log c
Tensor mixture_of(const Tensor& student, const Tensor& teacher, const View& view) {
  return at::logaddexp(student + std::log1p(-view.mixture), teacher + std::log(view.mixture));
}

/// -log_probabilities[label] per row, 0 where there is no label.
Tensor at_label(const Tensor& log_probabilities, const Tensor& labels) {
  const Tensor index = labels.clamp_min(0).unsqueeze(1);
  return (-log_probabilities.gather(1, index).squeeze(1)) * (labels >= 0);
}

}  // namespace

LogitFigures logit_figures(const Logits& logits, const View& view) {
  if (!fusable(logits))
    return logit_figures_reference(logits, view);
  const int64_t tokens = logits.student.size(0);
  const Tensor table = at::empty({tokens, kFigures}, at::kDouble);
  auto* figures = static_cast<LogitStats*>(table.data_ptr());
  with_rows(logits, [&](auto* student, const auto* teacher) {
    at::parallel_for(0, tokens, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        figures[row] = kernels::logit_stats(seen(row_at(student, teacher, row, logits), view));
    });
  });
  return {table};
}

void logits_to_gradient_(Logits& logits, const std::vector<Viewed>& views) {
  if (!fusable(logits)) {
    Tensor sum = logit_gradient_reference(logits, views[0].view, views[0].pull);
    for (size_t i = 1; i < views.size(); ++i)
      sum += logit_gradient_reference(logits, views[i].view, views[i].pull);
    logits.student.copy_(sum);
    return;
  }
  const int64_t vocab = logits.student.size(1);
  const auto others = static_cast<int64_t>(views.size()) - 1;
  with_rows(logits, [&](auto* student, const auto* teacher) {
    at::parallel_for(0, logits.student.size(0), 1, [&](int64_t begin, int64_t end) {
      // The first view overwrites the row: what the others say is computed beside it before.
      const Tensor beside = at::empty({others, vocab}, logits.student.options());
      auto* rows = static_cast<decltype(student)>(beside.data_ptr());
      for (int64_t index = begin; index < end; ++index) {
        const auto row = row_at(student, teacher, index, logits);
        for (int64_t i = 0; i < others; ++i)
          view_gradient(row, views[i + 1], index, rows + i * vocab);
        view_gradient(row, views[0], index, student + index * vocab);
        for (int64_t i = 0; i < others; ++i)
          logits.student.select(0, index).add_(beside.select(0, i));
      }
    });
  });
}

LogitFigures logit_figures_reference(const Logits& logits, const View& view) {
  const Tensor student = log_softmax(logits.student, view);
  const Tensor none = at::zeros_like(student.select(1, 0));
  std::vector<Tensor> columns(kFigures, none);
  columns[1] = student.detach().amax(1).neg().exp();
  columns[4] = at_label(student, logits.labels);
  if (logits.teacher.defined()) {
    const Tensor teacher = log_softmax(logits.teacher.detach(), view);
    columns[5] = at_label(teacher, logits.labels);
    columns[6] = -(teacher.exp() * student).sum(1);
    columns[7] = (teacher.exp() * (teacher - student)).sum(1);
    columns[8] = (student.exp() * (student - teacher)).sum(1);
    if (view.mixture > 0) {
      const Tensor mixed = mixture_of(student, teacher, view);
      columns[9] = (student.exp() * (student - mixed)).sum(1);
      columns[10] = (teacher.exp() * (teacher - mixed)).sum(1);
    }
  }
  return {at::stack(columns, 1).to(at::kDouble)};
}

Tensor logit_gradient_reference(const Logits& logits, const View& view, const Pull& pull) {
  const Tensor student = log_softmax(logits.student, view);
  const Tensor p_s = student.exp();
  const Tensor strength = pull.to(student.options());
  const auto part = [&](int64_t column) { return strength.select(1, column).unsqueeze(1); };
  const Tensor to_label = part(1) * (logits.labels >= 0).unsqueeze(1);
  Tensor gradient = to_label * p_s;
  gradient.scatter_add_(1, logits.labels.clamp_min(0).unsqueeze(1), -to_label);
  if (!logits.teacher.defined())
    return gradient;
  const Tensor teacher = log_softmax(logits.teacher, view).to(student.options());
  gradient += part(0) * (p_s - teacher.exp());
  // How far log p_s lies above what it is compared with, less its mean over the student's words.
  const auto centred = [&](const Tensor& other) {
    const Tensor apart = student - other;
    return p_s * (apart - (p_s * apart).sum(1, /*keepdim=*/true));
  };
  gradient += part(2) * centred(teacher);
  if (view.mixture > 0)
    gradient += part(3) * centred(mixture_of(student, teacher, view));
  return gradient;
}

}  // namespace sterna::distill
