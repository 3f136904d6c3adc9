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

double sum_of_squares(const Tensor& x) {
  return x.square().sum(at::kDouble).item<double>();
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
  return sum_of_squares(difference) / static_cast<double>(difference.numel());
}

}  // namespace

/// The weights of a block, to drop an unfinished one.
struct Blockwise::Snapshot {
  std::vector<Tensor> live;
  std::vector<Tensor> copies;

  explicit Snapshot(const std::vector<Slot*>& slots) {
    for (const Slot* slot : slots) {
      live.push_back(slot->master);
      for (const auto& tensors : {slot->quantizer->parameters(), slot->quantizer->buffers()})
        for (const quant::NamedTensor& each : tensors)
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

Tensor Blockwise::forward(const model::Decoder& decoder, const Tensor& x, int64_t batch) const {
  const Inputs& inputs = inputs_.at(batch);
  const auto cache = inputs.cache(decoder);
  return decoder.layer(block_, x, inputs.positions, *cache);
}

int64_t Blockwise::batches() const {
  return (config_.samples + config_.batch - 1) / config_.batch;
}

/// The part of a stream that one batch works on; the last may be short.
Tensor Blockwise::rows(const Tensor& stream, int64_t batch) const {
  const int64_t first = batch * config_.batch;
  return stream.narrow(0, first, std::min(config_.batch, config_.samples - first));
}

void Blockwise::start(int64_t block) {
  const at::NoGradGuard no_grad;
  student_.materialize();
  inputs_.clear();
  // All before anything is computed: what stays must not be strewn among what goes, or the heap
  // grows by the holes.
  for (int64_t i = 0; i < batches(); ++i) {
    const int64_t first = i * config_.batch;
    const int64_t count = std::min(config_.batch, config_.samples - first);
    inputs_.push_back(load_batch(samples_, first, count).inputs);
  }
  const int64_t length = inputs_.empty() ? 0 : inputs_.front().tokens.size(1);
  teacher_x_ = at::empty({config_.samples, length, teacher_.config().width});
  student_x_ = config_.input == "full" ? Tensor() : at::empty_like(teacher_x_);
  for (int64_t i = 0; i < batches(); ++i) {
    const Inputs& in = inputs_[i];
    rows(teacher_x_, i).copy_(teacher_.embed(in.tokens, in.positions));
    if (student_x_.defined())
      rows(student_x_, i).copy_(student_.decoder().embed(in.tokens, in.positions));
  }
  for (block_ = 0; block_ < block; ++block_) {
    SignalWatch::check();
    advance_teacher(teacher_x_);
    advance_student();
  }
}

void Blockwise::advance_teacher(Tensor& out) {
  const at::NoGradGuard no_grad;
  for (int64_t i = 0; i < batches(); ++i)
    rows(out, i).copy_(forward(teacher_, rows(teacher_x_, i), i));
}

void Blockwise::advance_student() {
  const at::NoGradGuard no_grad;
  materialize(student_.of_layer(block_));
  if (!student_x_.defined())
    return;
  for (int64_t i = 0; i < batches(); ++i) {
    Tensor x = rows(student_x_, i);
    x.copy_(forward(student_.decoder(), x, i));
  }
}

std::vector<Slot*> Blockwise::trained_slots() {
  std::vector<Slot*> result;
  for (Slot* slot : student_.of_layer(block_))
    if (slot->quantizer && (slot->trains_master || slot->trains_quantizer))
      result.push_back(slot);
  return result;
}

/// Mean square of what the full-precision block adds; batch by batch, for want of a fourth stream.
double Blockwise::power_of_block() const {
  const at::NoGradGuard no_grad;
  double sum = 0;
  for (int64_t i = 0; i < batches(); ++i)
    sum += sum_of_squares(rows(target_, i) - rows(teacher_x_, i));
  return sum / static_cast<double>(target_.numel());
}

BlockReport Blockwise::run(const BlockProgress& progress) {
  BlockReport report;
  report.block = block_;
  Stopwatch watch;
  if (!target_.defined())
    target_ = at::empty_like(teacher_x_);
  advance_teacher(target_);
  power_ = config_.loss == "mse" ? std::max(power_of_block(), kEps) : 1.0;
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
  advance_student();
  std::swap(teacher_x_, target_);
  ++block_;
  watch.lap(report.total_ms);
  return report;
}

void Blockwise::train(const std::vector<Slot*>& slots,
                      BlockReport& report,
                      const BlockProgress& progress) {
  const int64_t steps = batches() * config_.epochs;
  const Schedule schedule{"cosine", steps, 0, config_.lr_final};
  Optimizer optimizer({0.9, 0.999, kAdamEps, 0.0}, /*clip=*/0);
  double tail = 0;
  int64_t tail_steps = 0;
  for (int64_t i = 0; i < steps; ++i) {
    SignalWatch::check();
    const quant::Progress at{i, steps};
    const double value = step(slots, at, report);
    Stopwatch watch;
    std::vector<Trained> trained = gradients(slots, at);
    advance(slots, at);
    watch.lap(report.quant_ms);
    const double factor = schedule.factor(i);
    const Outcome outcome =
        optimizer.apply(trained, {config_.lr * factor, config_.lr_quant * factor});
    report.stable = report.stable && outcome.applied;
    touch(slots);
    if (i == 0)
      report.error_before = value;
    if (i >= steps - std::max<int64_t>(batches() / 4, 1)) {
      tail += value;
      ++tail_steps;
    }
    ++report.steps;
    progress(i + 1, steps, value);
  }
  report.error_after = tail / static_cast<double>(tail_steps);
}

double Blockwise::step(const std::vector<Slot*>& slots,
                       const quant::Progress& at,
                       BlockReport& report) {
  const int64_t batch = at.step % batches();
  Stopwatch watch;
  materialize_for_step(slots, at);
  zero_grad(slots);
  watch.lap(report.quant_ms);
  const Tensor in = rows(student_x_.defined() ? student_x_ : teacher_x_, batch);
  const at::AutoGradMode grad_mode(true);
  const Tensor out = forward(student_.decoder(), in, batch);
  Tensor d_out;
  double value = 0;
  {
    const at::NoGradGuard no_grad;
    value = error(config_.loss, out.detach(), rows(target_, batch), d_out);
  }
  pull(in, out, d_out);
  return value / power_;
}

}  // namespace sterna::run
