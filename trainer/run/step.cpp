// One training step, explicitly; no autograd graph crosses the border of a block.
//
//   counts of all labels                     on the host: every division is known in advance
//   Wq = decode(encode(master))              once, shared by all micro-batches
//   for each micro-batch
//     teacher's hidden state                 without gradients
//     embed -> block 0 .. L-1 -> final norm  a graph per block
//     loss from hidden states                chunks of tokens, its own gradient
//     final norm <- block L-1 .. 0 <- embed  gradients of Wq gather in fp32
//   gradient of Wq -> master, quantizer      closed form, once
//   clip, AdamW                              skipped as a whole where anything is not finite
#include "trainer/run/step.h"

#include <cmath>

#include "trainer/run/signals.h"
#include "trainer/run/stopwatch.h"

namespace sterna::run {

void to_tensors(const data::SampleSource& samples,
                int64_t first,
                int64_t count,
                Tensor& inputs,
                Tensor& labels) {
  for (int64_t b = 0; b < count; ++b) {
    const data::Sample sample = samples.at(first + b);
    const auto length = static_cast<int64_t>(sample.ids.size()) - 1;
    if (b == 0) {
      inputs = at::empty({count, length}, at::kLong);
      labels = at::empty({count, length}, at::kLong);
    }
    int64_t* in = inputs.mutable_data_ptr<int64_t>() + b * length;
    int64_t* out = labels.mutable_data_ptr<int64_t>() + b * length;
    for (int64_t t = 0; t < length; ++t) {
      in[t] = sample.ids[t];
      out[t] = sample.loss[t] != 0 ? sample.ids[t + 1] : distill::kIgnoreLabel;
    }
  }
}

namespace {

std::vector<double> means(const Tensor& sums, const distill::Counts& totals) {
  std::vector<double> result;
  for (size_t i = 0; i < totals.size(); ++i) {
    const double sum = sums[static_cast<int64_t>(i)].item<double>();
    result.push_back(totals[i] > 0 ? sum / totals[i] : sum);
  }
  return result;
}

}  // namespace

Step::Step(const StepParts& parts, const TrainConfig& config)
    : parts_(parts), config_(config), tape_(parts.student, config.recompute) {}

std::vector<Step::Batch> Step::load_all(int64_t attempt) const {
  std::vector<Batch> batches(config_.accumulate);
  int64_t next = attempt * config_.batch * config_.accumulate;
  for (Batch& batch : batches) {
    to_tensors(parts_.samples, next, config_.batch, batch.inputs, batch.labels);
    next += config_.batch;
  }
  return batches;
}

Tensor Step::teacher_hidden(const Tensor& inputs) const {
  if (parts_.teacher == nullptr)
    return {};
  const at::NoGradGuard no_grad;
  const auto cache = kvcache::make_stateless(parts_.teacher->rope());
  return parts_.teacher->hidden(inputs, at::arange(inputs.size(1), inputs.options()), *cache);
}

Tensor Step::micro_batch(const Batch& batch, const distill::Counts& totals, StepTimes& ms) {
  Stopwatch watch;
  distill::HeadInputs head;
  head.teacher_hidden = teacher_hidden(batch.inputs);
  watch.lap(ms.teacher);
  head.student_hidden = tape_.forward(batch.inputs);
  watch.lap(ms.forward);
  const Slot& slot = parts_.student.head();
  head.student_head = *slot.value;
  if (parts_.teacher != nullptr)
    head.teacher_head = parts_.teacher->head_linear().weight;
  head.labels = batch.labels;
  const distill::HeadResult result = parts_.objective.run(head, totals, *slot.grad);
  watch.lap(ms.loss);
  tape_.backward(result.d_hidden);
  watch.lap(ms.backward);
  return result.sums;
}

Outcome Step::update(const std::vector<double>& losses,
                     std::vector<Trained>& trained,
                     const Rates& now) {
  const std::vector<std::string> terms = parts_.objective.term_names();
  for (size_t i = 0; i < losses.size(); ++i) {
    if (!std::isfinite(losses[i])) {
      Outcome bad = parts_.optimizer.inspect(trained);
      if (bad.bad_tensor.empty())
        bad.bad_tensor = "loss " + terms[i];
      return bad;
    }
  }
  return parts_.optimizer.apply(trained, now);
}

Rates Step::rates(int64_t attempt) const {
  const double factor = config_.lr_schedule().factor(attempt);
  return {config_.lr * factor, config_.quantizer_lr() * factor};
}

StepReport Step::run(int64_t attempt) {
  StepReport report;
  Stopwatch total;
  Stopwatch watch;
  const std::vector<Batch> batches = load_all(attempt);
  distill::Counts totals;
  for (const Batch& batch : batches) {
    const distill::Counts counts = parts_.objective.counts(batch.labels);
    totals.resize(counts.size());
    for (size_t i = 0; i < counts.size(); ++i)
      totals[i] += counts[i];
    report.tokens += batch.inputs.numel();
  }
  watch.lap(report.ms.data);

  Student& student = parts_.student;
  student.materialize();
  watch.lap(report.ms.quant);
  zero_grad(student.all());

  Tensor sums = at::zeros({static_cast<int64_t>(totals.size())}, at::kDouble);
  for (const Batch& batch : batches) {
    SignalWatch::check();
    sums += micro_batch(batch, totals, report.ms);
  }
  SignalWatch::check();

  watch.restart();
  std::vector<Trained> trained = gradients(student.all());
  watch.lap(report.ms.quant);
  report.rates = rates(attempt);
  report.losses = means(sums, totals);
  const std::vector<double> weights = parts_.objective.term_weights();
  for (size_t i = 0; i < weights.size(); ++i)
    report.loss += weights[i] * report.losses[i];
  report.outcome = update(report.losses, trained, report.rates);
  if (report.outcome.applied)
    touch(student.all());
  watch.lap(report.ms.optimizer);
  total.lap(report.ms.total);
  return report;
}

}  // namespace sterna::run
