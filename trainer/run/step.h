#pragma once

#include <functional>
#include <string>
#include <vector>

#include "distill/objective.h"
#include "trainer/dist/world.h"
#include "trainer/model/decoder.h"
#include "trainer/run/act_ranges.h"
#include "trainer/run/batch.h"
#include "trainer/run/cached_teacher.h"
#include "trainer/run/optimizer.h"
#include "trainer/run/ranges.h"
#include "trainer/run/sharing.h"
#include "trainer/run/tape.h"

namespace sterna::run {

/// Wall time of a step's parts in milliseconds.
struct StepTimes {
  double data = 0;
  double quant = 0;  ///< encode, decode and the quantizers' backward
  double teacher = 0;
  double forward = 0;
  double loss = 0;
  double backward = 0;
  double exchange = 0;  ///< waiting for the gradients of other ranks, behind the way back
  double optimizer = 0;
  double total = 0;
  double save = 0;  ///< beside the step: what checkpoints took since the step before
};

/// One line of log.jsonl before it is written.
struct StepReport {
  double loss = 0;             ///< weighted sum of the terms' means
  std::vector<double> losses;  ///< mean of each term, in the objective's order; last the ranges
  Outcome outcome;
  Rates rates;
  int64_t tokens = 0;
  StepTimes ms;
};

/// What a step works with; all of it outlives the Step.
struct StepParts {
  Student& student;
  const model::Decoder* teacher;  ///< null where no term needs one
  const distill::Objective& objective;
  const data::SampleSource& samples;
  Optimizer& optimizer;
  dist::World& world;
  const CachedTeacher* cached = nullptr;  ///< asked in place of the teacher
  Ranges* ranges = nullptr;               ///< null where no range is part of the loss
  Sharing* sharing = nullptr;             ///< null: the step makes one that shards nothing
  bool offloads = false;  ///< inputs of blocks wait in host memory; train.recompute only
  std::function<std::unique_ptr<Copier>()> copier{};  ///< for these; null: that of the device
};

/// One optimizer step of end-to-end training: see run() in step.cpp, the way of the data. Every
/// rank runs the same step on its share of the samples and ends with the same weights.
class Step {
 public:
  Step(const StepParts& parts, const TrainConfig& config);

  /// @param attempt  number of the step, skipped ones included: decides samples and rates
  /// @throws Interrupted  on every rank where one was asked to stop; nothing has been changed then
  StepReport run(int64_t attempt);

 private:
  std::vector<Batch> load_share(int64_t attempt) const;
  distill::Counts count(const std::vector<Batch>& batches, int64_t& tokens) const;
  Tensor loss_sums(const std::vector<Batch>& batches, const distill::Counts& totals, StepTimes& ms);
  at::Device device() const { return parts_.student.places().compute; }
  Tensor zero_sums(const distill::Counts& totals) const;
  void give_cached(const Batch& batch, distill::HeadInputs& head) const;
  bool side_by_side() const;
  bool intervened() const;
  distill::HeadInputs hidden_states(const Batch& batch,
                                    const distill::Counts& totals,
                                    Tensor& sums,
                                    StepTimes& ms);
  Tensor micro_batch(const Batch& batch, const distill::Counts& totals, StepTimes& ms);
  Rates rates(int64_t attempt) const;
  void drop_untouched(std::vector<Trained>& trained) const;
  void sum_norms(std::vector<Trained>& trained, Outcome& outcome) const;
  void sum_losses(const std::vector<double>& means, double ranges, StepReport& report) const;
  Outcome update(const std::vector<double>& losses,
                 std::vector<Trained>& trained,
                 const Rates& now);

  StepParts parts_;
  TrainConfig config_;
  std::unique_ptr<Sharing> own_sharing_;
  Sharing& sharing_;
  Tape tape_;
  ActRanges act_ranges_;
  int64_t attempt_ = 0;
};

/// What a model's head reads for whole sequences, [B, T, D], without gradients, where it computes.
Tensor hidden_of(const model::Decoder& decoder, const Inputs& inputs);

}  // namespace sterna::run
