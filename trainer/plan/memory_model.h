#pragma once

#include "trainer/plan/workload.h"

namespace sterna::plan {

inline constexpr double kMiB = 1024.0 * 1024.0;
inline constexpr double kGiB = 1024.0 * kMiB;

/// What a rank holds in memory at its fullest, in bytes: at the loss or in a block's backward pass
/// of the end-to-end stage from its second step on, in an evaluation, or before it in the
/// block-wise stage. docs/planning.md has the formulas and how far they are from what was measured.
struct MemoryEstimate {
  double masters = 0;
  double gradients = 0;
  double moments = 0;
  double compute = 0;     ///< the student's weights in its dtype
  double quantizers = 0;  ///< what they learn and keep; codes that are held
  double average = 0;     ///< `train.ema`
  double copy = 0;        ///< in host memory, of a checkpoint that is being written
  double host = 0;        ///< what `[memory]` moves to host memory; not in total()
  double teacher = 0;
  double buffers = 0;      ///< of the ranks' exchange: gradients in buckets, gathered layers
  double activations = 0;  ///< what backward needs of a micro-batch, and what the heads read
  double loss = 0;         ///< logits of one chunk of tokens, student's and teacher's
  double working = 0;      ///< of the block that is on its way back; never beside the loss
  double streams = 0;      ///< block-wise: activations of one layer for all samples; gone before
                           ///< `activations` come
  double evaluation = 0;   ///< likewise: a block at work on some windows, and logits
  double uncut = 0;        ///< whole models, where they are shared out late; gone before training
  double program = 0;      ///< libraries, code and what they keep

  double total() const;
};

/// @param program  bytes that a process holds before it does anything
MemoryEstimate estimate_memory(const Workload& work, const Share& share, double program);

/// Bytes of a checkpoint, all ranks together.
double checkpoint_bytes(const Workload& work);

/// Of a rank's copy in host memory, while a thread writes it and training goes on; 0 where none is
/// made.
double checkpoint_copy(const Workload& work, int64_t ranks);

}  // namespace sterna::plan
