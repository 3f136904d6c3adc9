// One training step, explicitly; no autograd graph crosses the border of a block.
//
//   counts of all labels                     on the host, over all ranks: divisions are known
//   Wq = decode(encode(master))              once, shared by all micro-batches; or a soft value
//   for each micro-batch of this rank's share
//     teacher's hidden state                 without gradients; before the student, or block by
//                                            block beside it (lockstep.h)
//     embed -> block 0 .. L-1 -> final norm  a graph per block
//     loss from hidden states                chunks of tokens, its own gradient
//     final norm <- block L-1 .. 0 <- embed  gradients of Wq gather in fp32; in the last
//                                            micro-batch (or each, sharing.h) those of a block set
//                                            out to be summed over ranks as soon as it is passed
//   gradients of Wq                          have arrived
//   gradient of Wq -> master, quantizer      closed form, once
//   losses on the masters' ranges            likewise
//   clip, AdamW                              skipped by all ranks where anything is not finite
//   ranges of activations                    moved by what all ranks saw, for the next step
#include "trainer/run/step.h"

#include "trainer/run/signals.h"
#include "trainer/run/stopwatch.h"

namespace sterna::run {
namespace {

std::vector<double> means(const Tensor& sums, const distill::Counts& totals) {
  std::vector<double> result;
  for (size_t i = 0; i < totals.size(); ++i) {
    const double sum = sums[static_cast<int64_t>(i)].item<double>();
    result.push_back(totals[i] > 0 ? sum / totals[i] : sum);
  }
  return result;
}

std::unique_ptr<Offload> offload_of(const StepParts& parts) {
  if (!parts.offloads)
    return nullptr;
  return std::make_unique<Offload>(parts.copier ? parts.copier() : nullptr);
}

}  // namespace

Step::Step(const StepParts& parts, const TrainConfig& config)
    : parts_(parts),
      config_(config),
      own_sharing_(parts.sharing != nullptr
                       ? nullptr
                       : std::make_unique<Sharing>(parts.student, parts.world, DistConfig())),
      sharing_(parts.sharing != nullptr ? *parts.sharing : *own_sharing_),
      tape_(parts.student, config.recompute, offload_of(parts)),
      act_ranges_(parts.student.decoder()) {}

std::vector<Batch> Step::load_share(int64_t attempt) const {
  const SampleRange share =
      share_of_step(attempt, config_, parts_.world.rank(), parts_.world.size());
  std::vector<Batch> batches;
  for (int64_t done = 0; done < share.count; done += config_.batch) {
    const int64_t samples = std::min(config_.batch, share.count - done);
    batches.push_back(load_batch(parts_.samples, share.first + done, samples));
  }
  return batches;
}

/// Of the whole step on all ranks, in one vector; `tokens` likewise.
distill::Counts Step::count(const std::vector<Batch>& batches, int64_t& tokens) const {
  const size_t terms = parts_.objective.term_names().size();
  Tensor sums = at::zeros({static_cast<int64_t>(terms) + 1}, at::kDouble);
  auto* sum = sums.mutable_data_ptr<double>();
  for (const Batch& batch : batches) {
    const distill::Counts counts = parts_.objective.counts(batch.labels);
    for (size_t i = 0; i < terms; ++i)
      sum[i] += counts[i];
    sum[terms] += static_cast<double>(batch.labels.numel());
  }
  parts_.world.all_reduce({sums})->wait();
  tokens = static_cast<int64_t>(sum[terms]);
  return {sum, sum + terms};
}

Tensor hidden_of(const model::Decoder& decoder, const Inputs& inputs) {
  const at::NoGradGuard no_grad;
  const Inputs here = inputs.to(decoder.head_linear().weight.device());
  const auto cache = here.cache(decoder);
  return decoder.hidden(here.tokens, here.positions, *cache);
}

bool Step::intervened() const {
  return parts_.objective.intervention().at(attempt_, config_.seed) != distill::Swap::kNone;
}

bool Step::side_by_side() const {
  return parts_.objective.hidden().wanted() || intervened();
}

void Step::give_cached(const Batch& batch, distill::HeadInputs& head) const {
  parts_.cached->give(batch.inputs, head);
  for (Tensor* each :
       {&head.teacher_hidden, &head.teacher_head, &head.teacher_top.ids, &head.teacher_top.log_p})
    if (each->defined())
      *each = each->to(device());
}

/// What both heads read; what was compared on the way is added to the sums.
distill::HeadInputs Step::hidden_states(const Batch& batch,
                                        const distill::Counts& totals,
                                        Tensor& sums,
                                        StepTimes& ms) {
  Stopwatch watch;
  distill::HeadInputs head;
  const Inputs inputs = batch.inputs.to(device());
  if (side_by_side()) {
    Lockstep beside(
        *parts_.teacher, parts_.objective, totals, {config_.seed, attempt_, batch.first});
    head.student_hidden = tape_.forward(inputs, &beside);
    head.teacher_hidden = beside.hidden();
    sums.add_(beside.sums());
    watch.lap(ms.forward);
    ms.teacher += beside.milliseconds();
    ms.forward -= beside.milliseconds();
    return head;
  }
  if (parts_.cached != nullptr)
    give_cached(batch, head);
  else if (parts_.teacher != nullptr)
    head.teacher_hidden = hidden_of(*parts_.teacher, inputs);
  watch.lap(ms.teacher);
  head.student_hidden = tape_.forward(inputs);
  watch.lap(ms.forward);
  return head;
}

Tensor Step::micro_batch(const Batch& batch, const distill::Counts& totals, StepTimes& ms) {
  Tensor sums = zero_sums(totals);
  distill::HeadInputs head = hidden_states(batch, totals, sums, ms);
  Stopwatch watch;
  const Slot& slot = parts_.student.head();
  sharing_.enter_head();
  head.student_head = *slot.value;
  if (parts_.teacher != nullptr)
    head.teacher_head = parts_.teacher->head_linear().weight;
  head.labels = batch.labels;
  const distill::HeadResult result = parts_.objective.run(head, totals, *slot.grad);
  head = {};
  sharing_.leave_head();
  watch.lap(ms.loss);
  tape_.backward(result.d_hidden, &sharing_);
  watch.lap(ms.backward);
  return sums.add_(result.sums);
}

Tensor Step::zero_sums(const distill::Counts& totals) const {
  return at::zeros({static_cast<int64_t>(totals.size())},
                   at::TensorOptions(device()).dtype(at::kDouble));
}

/// Runs this rank's micro-batches. Sums of all ranks, fp64 [terms].
Tensor Step::loss_sums(const std::vector<Batch>& batches,
                       const distill::Counts& totals,
                       StepTimes& ms) {
  const auto terms = static_cast<int64_t>(totals.size());
  Tensor own = zero_sums(totals);
  for (const Batch& batch : batches) {
    if (SignalWatch::arrived() && !sharing_.meets_in_micro_batches())
      break;
    sharing_.micro_batch(/*last=*/&batch == &batches.back());
    own.add_(micro_batch(batch, totals, ms));
  }
  Stopwatch watch;
  sharing_.finish();
  watch.lap(ms.exchange);
  Tensor sums = at::constant_pad_nd(own.cpu(), {0, 1});
  // A rank that left alone would leave the others waiting: the last element counts who wants to.
  sums[terms] = SignalWatch::arrived() ? 1.0 : 0.0;
  parts_.world.all_reduce({sums})->wait();
  if (sums[terms].item<double>() > 0) {
    SignalWatch::check();
    throw Interrupted("another rank was asked to stop");
  }
  return sums.narrow(0, 0, terms);
}

StepReport Step::run(int64_t attempt) {
  attempt_ = attempt;
  StepReport report;
  Stopwatch total;
  Stopwatch watch;
  const std::vector<Batch> batches = load_share(attempt);
  const distill::Counts totals = count(batches, report.tokens);
  watch.lap(report.ms.data);

  Student& student = parts_.student;
  const quant::Progress at{attempt, config_.steps};
  student.materialize_for_step(at);
  watch.lap(report.ms.quant);
  sharing_.start();
  act_ranges_.start();
  const Tensor sums = loss_sums(batches, totals, report.ms);

  watch.restart();
  std::vector<Trained> trained = gradients(student.all(), at);
  advance(student.all(), at);
  if (intervened())
    drop_untouched(trained);
  // Behind the sum over ranks: the masters are the same on all that hold them.
  std::vector<double> ranges{parts_.ranges != nullptr ? parts_.ranges->add(trained) : 0};
  if (parts_.ranges != nullptr)
    sharing_.sum(ranges);
  watch.lap(report.ms.quant);
  report.rates = rates(attempt);
  sum_losses(means(sums, totals), ranges.front(), report);
  report.outcome = update(report.losses, trained, report.rates);
  if (report.outcome.applied) {
    touch(student.all());
    act_ranges_.finish(parts_.world);
  }
  watch.lap(report.ms.optimizer);
  total.lap(report.ms.total);
  return report;
}

}  // namespace sterna::run
