// Block-wise reconstruction (EfficientQAT's Block-AP; Chen et al., arXiv:2407.11062)
//   for block b = 0 .. L-1:  min over W, scale, zero of  mean (block_q(x) - block_fp(x_fp))^2
// with x the output of the quantized blocks before b and x_fp the full-precision one's, AdamW, the
// rate falling on a cosine within each block.
// Differences from the published code: the residual stream is kept in fp32, so that bf16 matrix
// products do not round what is compared; Wq is computed once a step, as everywhere here; and
// loss = "relative" divides each token's error by its target's power, because a few tokens of huge
// norm (attention sinks) otherwise decide the whole mean.
#include "trainer/run/blockwise.h"

#include <cmath>

#include "trainer/run/optimizer.h"
#include "trainer/run/signals.h"
#include "trainer/run/step.h"
#include "trainer/run/stopwatch.h"
#include "trainer/run/tape.h"

namespace sterna::run {
namespace {

constexpr double kEps = 1e-8;  // of a token's power, against all-zero targets
// Gradients of a mean over millions of outputs are small; AdamW's usual 1e-8 would damp them.
constexpr double kAdamEps = 1e-15;

double mean_square(const Tensor& x) {
  return x.square().mean(at::kDouble).item<double>();
}

/// Error of a batch and its gradient for `out`.
double error(const std::string& loss, const Tensor& out, const Tensor& target, Tensor& d_out) {
  const Tensor difference = out - target;
  if (loss == "relative") {
    const Tensor power = target.square().mean({-1}, /*keepdim=*/true).add_(kEps);
    d_out = difference / power;
    const double value = (difference * d_out).mean(at::kDouble).item<double>();
    d_out.mul_(2.0 / static_cast<double>(out.numel()));
    return value;
  }
  d_out = difference * (2.0 / static_cast<double>(out.numel()));
  return mean_square(difference);
}

}  // namespace

/// The weights of a block, to drop an unfinished one.
struct Blockwise::Snapshot {
  std::vector<Tensor> live;
  std::vector<Tensor> copies;

  explicit Snapshot(const std::vector<Slot*>& slots) {
    for (const Slot* slot : slots) {
      live.push_back(slot->master);
      for (const quant::NamedTensor& each : slot->quantizer->parameters())
        live.push_back(each.tensor);
    }
    for (const Tensor& tensor : live)
      copies.push_back(tensor.clone());
  }
  void restore() {
    for (size_t i = 0; i < live.size(); ++i)
      live[i].copy_(copies[i]);
  }
};

Blockwise::Blockwise(Student& student,
                     const model::Decoder& teacher,
                     const data::SampleSource& samples,
                     const BlockwiseConfig& config)
    : student_(student), teacher_(teacher), samples_(samples), config_(config) {}

Tensor Blockwise::forward(const model::Decoder& decoder, const Tensor& x) const {
  const auto cache = kvcache::make_stateless(decoder.rope());
  return decoder.layer(block_, x, positions_, *cache);
}

void Blockwise::start(int64_t block) {
  const at::NoGradGuard no_grad;
  student_.materialize();
  std::vector<Tensor> student_parts;
  std::vector<Tensor> teacher_parts;
  for (int64_t next = 0; next < config_.samples; next += config_.batch) {
    Tensor inputs;
    Tensor labels;
    const int64_t count = std::min(config_.batch, config_.samples - next);
    to_tensors(samples_, next, count, inputs, labels);
    student_parts.push_back(student_.decoder().embed(inputs).to(at::kFloat));
    teacher_parts.push_back(teacher_.embed(inputs).to(at::kFloat));
  }
  student_x_ = at::cat(student_parts);
  teacher_x_ = at::cat(teacher_parts);
  positions_ = at::arange(student_x_.size(1), at::kLong);
  block_ = 0;
  while (block_ < block) {
    SignalWatch::check();
    target_ = Tensor();
    advance();
  }
}

void Blockwise::advance() {
  const at::NoGradGuard no_grad;
  materialize(student_.of_layer(block_));
  for (int64_t next = 0; next < config_.samples; next += config_.batch) {
    const int64_t count = std::min(config_.batch, config_.samples - next);
    if (!target_.defined()) {
      Tensor x = teacher_x_.narrow(0, next, count);
      x.copy_(forward(teacher_, x));
    }
    Tensor x = student_x_.narrow(0, next, count);
    x.copy_(forward(student_.decoder(), x));
  }
  if (target_.defined())
    teacher_x_ = target_;
  ++block_;
}

std::vector<Slot*> Blockwise::trained_slots() {
  std::vector<Slot*> result;
  for (Slot* slot : student_.of_layer(block_))
    if (slot->quantizer && (slot->trains_master || slot->trains_quantizer))
      result.push_back(slot);
  return result;
}

BlockReport Blockwise::run(const BlockProgress& progress) {
  BlockReport report;
  report.block = block_;
  Stopwatch watch;
  {
    const at::NoGradGuard no_grad;
    target_ = at::empty_like(teacher_x_);
    for (int64_t next = 0; next < config_.samples; next += config_.batch) {
      const int64_t count = std::min(config_.batch, config_.samples - next);
      target_.narrow(0, next, count).copy_(forward(teacher_, teacher_x_.narrow(0, next, count)));
    }
    power_ = config_.loss == "mse" ? std::max(mean_square(target_ - teacher_x_), kEps) : 1.0;
  }
  const std::vector<Slot*> slots = trained_slots();
  Stopwatch training;
  if (!slots.empty()) {
    Snapshot before(slots);
    try {
      train(slots, report, progress);
    } catch (const Interrupted&) {
      before.restore();
      touch(slots);
      drop_grad(slots);
      throw;
    }
    drop_grad(slots);
  }
  training.lap(report.train_ms);
  advance();
  watch.lap(report.total_ms);
  return report;
}

void Blockwise::train(const std::vector<Slot*>& slots,
                      BlockReport& report,
                      const BlockProgress& progress) {
  const int64_t batches = config_.samples / std::min(config_.batch, config_.samples);
  const int64_t steps = batches * config_.epochs;
  const Schedule schedule{"cosine", steps, 0, config_.lr_final};
  Optimizer optimizer({0.9, 0.999, kAdamEps, 0.0}, /*clip=*/0);
  double tail = 0;
  int64_t tail_steps = 0;
  for (int64_t i = 0; i < steps; ++i) {
    SignalWatch::check();
    const double value = step(slots, i % batches * config_.batch, report);
    Stopwatch watch;
    std::vector<Trained> trained = gradients(slots);
    watch.lap(report.quant_ms);
    const double factor = schedule.factor(i);
    const Outcome outcome =
        optimizer.apply(trained, {config_.lr * factor, config_.lr_quant * factor});
    report.stable = report.stable && outcome.applied;
    touch(slots);
    if (i == 0)
      report.error_before = value;
    if (i >= steps - std::max<int64_t>(batches / 4, 1)) {
      tail += value;
      ++tail_steps;
    }
    ++report.steps;
    progress(i + 1, steps, value);
  }
  report.error_after = tail / static_cast<double>(tail_steps);
}

double Blockwise::step(const std::vector<Slot*>& slots, int64_t first, BlockReport& report) {
  Stopwatch watch;
  materialize(slots);
  zero_grad(slots);
  watch.lap(report.quant_ms);
  const int64_t count = std::min(config_.batch, config_.samples);
  const Tensor& stream = config_.input == "full" ? teacher_x_ : student_x_;
  const Tensor in = stream.narrow(0, first, count);
  const at::AutoGradMode grad_mode(true);
  const Tensor out = forward(student_.decoder(), in);
  Tensor d_out;
  double value = 0;
  {
    const at::NoGradGuard no_grad;
    value = error(config_.loss, out.detach(), target_.narrow(0, first, count), d_out);
  }
  pull(in, out, d_out);
  return value / power_;
}

}  // namespace sterna::run
