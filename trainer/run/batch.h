#pragma once

#include "trainer/data/samples.h"
#include "trainer/run/config.h"
#include "trainer/run/inputs.h"

namespace sterna::run {

/// Samples of one step that one rank computes.
struct SampleRange {
  int64_t first = 0;  ///< global sample index
  int64_t count = 0;
};

/// A step has `batch` * `accumulate` samples however many ranks there are; they take consecutive
/// shares of it, equal but for one sample.
SampleRange share_of_step(int64_t attempt, const TrainConfig& config, int64_t rank, int64_t ranks);

/// A micro-batch, in host memory.
struct Batch {
  Inputs inputs;
  Tensor labels;      ///< int64 [B, T], distill::kIgnoreLabel where there is no loss
  int64_t first = 0;  ///< global index of the first sample
};

/// Samples [first, first + count).
Batch load_batch(const data::SampleSource& samples, int64_t first, int64_t count);

}  // namespace sterna::run
