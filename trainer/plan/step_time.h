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

  double computing() const { return teacher + student + optimizer; }
  double total() const { return computing() + exposed; }
};

/// Replays a step, layer by layer, on two resources: a rank's computing and its network, which
/// takes one collective after the other in the order of their calls.
///   ddp     gradients in buckets, all-reduced as backward fills them, in the last micro-batch
///   zero1   each part's gradients reduce-scattered there, one part under way at a time; weights
///           gathered in the first micro-batch's forward pass, one part ahead
///   zero2   the same, gradients in every micro-batch
///   zero3   weights too, before each part's forward and backward pass
/// A sharded teacher is gathered like zero3's forward pass.
StepTime step_time(const Workload& work, const Share& share, const Machine& machine);

}  // namespace sterna::plan
