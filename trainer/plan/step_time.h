#pragma once

#include "trainer/plan/network.h"
#include "trainer/plan/workload.h"

namespace sterna::plan {

/// Seconds of an optimizer step on every rank, as if all ranks were equally fast.
struct StepTime {
  double teacher = 0;
  double student = 0;    ///< forward, loss, backward, blocks that are run again
  double optimizer = 0;  ///< and quantizers: bytes through memory
  double network = 0;    ///< collectives, laid end to end
  double exposed = 0;    ///< what of that no computation hides
  double sent = 0;       ///< bytes that a rank sends
  double copies = 0;     ///< between device and host memory, both ways laid end to end
  double uncovered = 0;  ///< what of that no computation hides
  double copied = 0;     ///< bytes of these

  double computing() const { return teacher + student + optimizer; }
  double total() const { return computing() + exposed + uncovered; }
};

/// Replays a step, layer by layer, on a rank's computing, its network, which takes one collective
/// after the other in the order of their calls, and where there is a device its way to host memory.
///   ddp     gradients in buckets, all-reduced as backward fills them, in the last micro-batch
///   zero1   each part's gradients reduce-scattered there, one part under way at a time; weights
///           gathered in the first micro-batch's forward pass, one part ahead
///   zero2   the same, gradients in every micro-batch
///   zero3   weights too, before each part's forward and backward pass
/// A sharded teacher is gathered like zero3's forward pass. Quantizers compute in host memory;
/// `[memory]`:
///   activations  a block's input goes up or down while a block computes
///   optimizer    gradients come down in ddp's buckets, beside backward, else when their sum is
///                there; AdamW at the speed of host memory; weights go up beside their making
StepTime step_time(const Workload& work, const Share& share, const Machine& machine);

}  // namespace sterna::plan
