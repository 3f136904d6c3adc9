#pragma once

#include "trainer/plan/workload.h"

namespace sterna::plan {

inline constexpr double kMiB = 1024.0 * 1024.0;
inline constexpr double kGiB = 1024.0 * kMiB;

/// What of a rank lies in host memory beside its device, in bytes: see MemoryEstimate.
struct HostMemory {
  double masters = 0;
  double gradients = 0;  ///< that have come down, of the rows which the rank owns
  double moments = 0;
  double quantizers = 0;
  double average = 0;
  double activations = 0;  ///< inputs of blocks; of a rank on a CPU they are all that is here
  double copy = 0;

  double total() const;
};

/// What a rank holds in memory at its fullest, in bytes: at the loss or in a block's backward pass
/// of the end-to-end stage from its second step on, in an evaluation, or before it in the
/// block-wise stage. docs/planning.md has the formulas and how far they are from what was measured.
struct MemoryEstimate {
  double masters = 0;
  double gradients = 0;
  double moments = 0;
  double compute = 0;     ///< the student's weights in its dtype
  double quantizers = 0;  ///< what they learn and keep; codes that are held; never on a device
  double average = 0;     ///< `train.ema`
  double copy = 0;        ///< of a checkpoint that is being written; never on a device
  HostMemory host;        ///< beside all this; not in total()
  double teacher = 0;
  double buffers = 0;      ///< of the ranks' exchange: gradients in buckets, gathered layers
  double activations = 0;  ///< what backward needs of a micro-batch, and what the heads read
  double loss = 0;         ///< logits of one chunk of tokens, student's and teacher's
  double working = 0;      ///< of the block that is on its way back; never beside the loss
  double update = 0;       ///< of the optimizer on a device, when backward's are gone
  double streams = 0;      ///< block-wise: activations of one layer for the rank's samples, and the
                           ///< block in training; gone before `activations` come
  double evaluation = 0;   ///< likewise: a block at work on some windows, and logits
  double uncut = 0;        ///< whole models, where they are shared out late; gone before training
  double program = 0;      ///< libraries, code and what they keep

  double total() const;
};

/// The copy of a checkpoint is not in it: see checkpoint_copy().
/// @param program  bytes that a process holds before it does anything
MemoryEstimate estimate_memory(const Workload& work, const Share& share, double program);

/// Bytes of a checkpoint, all ranks together.
double checkpoint_bytes(const Workload& work);

/// Of a rank's copy in host memory, while a thread writes it and training goes on; 0 where none is
/// made.
double checkpoint_copy(const Workload& work, int64_t ranks);

}  // namespace sterna::plan
