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

struct Compared {
  double elements = 0;  ///< outputs of the whole batch
  Tensor d_out;
};

/// What some samples add to the mean error of a batch of `elements` outputs, and its gradient for
/// `out`.
double error(const std::string& loss, const Tensor& out, const Tensor& target, Compared& to) {
  const Tensor difference = out - target;
  if (loss == "relative") {
    const Tensor power = target.square().mean({-1}, /*keepdim=*/true).add_(kEps);
    to.d_out = difference / power;
    const double sum = (difference * to.d_out).sum(at::kDouble).item<double>();
    to.d_out.mul_(2.0 / to.elements);
    return sum / to.elements;
  }
  to.d_out = difference * (2.0 / to.elements);
  return sum_of_squares(difference) / to.elements;
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

Blockwise::Blockwise(const BlockwiseParts& parts, const BlockwiseConfig& config)
    : student_(parts.student),
      teacher_(parts.teacher),
      samples_(parts.samples),
      world_(parts.world),
      config_(config) {
  int64_t at = 0;
  for (int64_t first = 0; first < config.samples; first += config.batch) {
    const int64_t batch = std::min(config.batch, config.samples - first);
    const int64_t begin = batch * world_.rank() / world_.size();
    const int64_t end = batch * (world_.rank() + 1) / world_.size();
    shares_.push_back({first + begin, at, end - begin, batch});
    at += end - begin;
  }
}

Tensor Blockwise::forward(const model::Decoder& decoder, const Tensor& x, int64_t batch) const {
  const Inputs& inputs = inputs_.at(batch);
  const auto cache = inputs.cache(decoder);
  return decoder.layer(block_, x, inputs.positions, *cache);
}

/// The part of a stream that belongs to one batch.
Tensor Blockwise::rows(const Tensor& stream, int64_t batch) const {
  return stream.narrow(0, shares_[batch].at, shares_[batch].count);
}

void Blockwise::start(int64_t block) {
  const at::NoGradGuard no_grad;
  student_.materialize();
  inputs_.clear();
  // All before anything is computed: what stays must not be strewn among what goes, or the heap
  // grows by the holes.
  int64_t own = 0;
  int64_t length = 0;
  for (const Share& share : shares_) {
    inputs_.push_back(
        load_batch(samples_, share.first, share.count).inputs.to(student_.places().compute));
    own += share.count;
    length = std::max(length, inputs_.back().tokens.size(1));
  }
  teacher_x_ = at::empty({own, length, teacher_.config().width},
                         at::TensorOptions(student_.places().compute).dtype(at::kFloat));
  student_x_ = config_.input == "full" ? Tensor() : at::empty_like(teacher_x_);
  for (int64_t i = 0; i < batches(); ++i) {
    if (shares_[i].count == 0)
      continue;
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
    if (shares_[i].count > 0)
      rows(out, i).copy_(forward(teacher_, rows(teacher_x_, i), i));
}

void Blockwise::advance_student() {
  const at::NoGradGuard no_grad;
  materialize(student_.of_layer(block_));
  if (!student_x_.defined())
    return;
  for (int64_t i = 0; i < batches(); ++i) {
    Tensor x = rows(student_x_, i);
    if (x.size(0) > 0)
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
  const Tensor all = at::tensor({sum, static_cast<double>(target_.numel())}, at::kDouble);
  world_.all_reduce({all})->wait();
  return all[0].item<double>() / all[1].item<double>();
}

BlockReport Blockwise::run(const BlockProgress& progress) {
  BlockReport report;
  report.block = block_;
  Stopwatch watch;
  if (!target_.defined())
    target_ = at::empty_like(teacher_x_);
  advance_teacher(target_);
  world_.barrier();  // a rank may have come late: what follows is not waited for without limit
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
  double value = 0;
  if (shares_[batch].count > 0) {
    const Tensor in = rows(student_x_.defined() ? student_x_ : teacher_x_, batch);
    const at::AutoGradMode grad_mode(true);
    const Tensor out = forward(student_.decoder(), in, batch);
    const double of_sample = static_cast<double>(out[0].numel());
    Compared compared{of_sample * static_cast<double>(shares_[batch].batch), {}};
    {
      const at::NoGradGuard no_grad;
      value = error(config_.loss, out.detach(), rows(target_, batch), compared);
    }
    pull(in, out, compared.d_out);
  }
  return meet(slots, value) / power_;
}

/// Sums over ranks, in place and of `error`. @throws Interrupted  on all of them
double Blockwise::meet(const std::vector<Slot*>& slots, double error) {
  const Tensor sums = at::tensor({error, SignalWatch::arrived() ? 1.0 : 0.0}, at::kDouble);
  std::vector<Tensor> all{sums};
  for (const Slot* slot : slots)
    all.push_back(*slot->grad);
  world_.all_reduce(all)->wait();
  if (sums[1].item<double>() > 0) {
    SignalWatch::check();
    throw Interrupted("another rank was asked to stop");
  }
  return sums[0].item<double>();
}

}  // namespace sterna::run
