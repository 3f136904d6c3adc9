#pragma once

#include <optional>
#include <vector>

#include "trainer/run/session.h"

namespace sterna::plan {

/// How much there is of one part of a model: the embedding, a block, or what is behind the blocks.
/// In elements where nothing else is said.
struct PartSize {
  double matrices = 0;    ///< computed with in the model's dtype
  double vectors = 0;     ///< norms and biases, computed with in fp32
  double quantized = 0;   ///< of the matrices: in few bits
  double trained = 0;     ///< have a gradient
  double moved = 0;       ///< what the optimizer moves, quantizers' parameters included
  double learned = 0;     ///< of these: quantizers' parameters
  double quantizers = 0;  ///< bytes of what quantizers learn and keep
  double packed = 0;      ///< bytes of matrices that are kept in few bits, counted nowhere else

  void add(const PartSize& other);
};
PartSize sum_of(const std::vector<PartSize>& parts);

/// Parts of a student in training: the embedding, L blocks, norm and head (a tied head is in the
/// embedding). Shapes alone are looked at, no weight is allocated.
std::vector<PartSize> student_parts(const run::Session& session);

/// Parts of a model that only answers.
/// @param plan  which matrices of its blocks are packed
std::vector<PartSize> teacher_parts(const model::DecoderConfig& config, const quant::Plan& plan);

/// What a run holds and computes, as far as memory and time depend on it.
struct Workload {
  run::Settings settings;
  model::DecoderConfig student;
  std::vector<PartSize> parts;
  double largest_matrix = 0;  ///< elements of the largest in a block
  double largest = 0;         ///< of any parameter

  std::optional<model::DecoderConfig> teacher;  ///< of one that runs in every step
  std::vector<PartSize> teacher_parts;  ///< what is in memory of it; of a cached one the head
  bool taught = false;                  ///< the loss reads the teacher's logits
  bool compares_hidden = false;         ///< `[[kd.hidden]]`
  int64_t chunk = 0;                    ///< `kd.chunk`
  bool cut_late = false;  ///< a stage before training needs whole models (load_shares.h)

  int64_t samples() const { return settings.train.batch * settings.train.accumulate; }
  double tokens() const { return static_cast<double>(samples() * settings.train.seq_len); }
};

/// Of a session from open_session() or open_shapes().
Workload workload_of(const run::Session& session);

/// Bytes of an element in that dtype.
inline double bytes_of(const std::string& dtype) {
  return dtype == "bf16" ? 2 : 4;
}

/// Stages of ZeRO: 0 shares nothing, 1 masters and moments, 2 gradients, 3 weights.
int64_t zero_stage(const run::DistConfig& dist);

/// True where the ranks compute on devices beside the host's memory.
inline bool on_device(const Workload& work) {
  return work.settings.train.device != "cpu";
}

/// True where masters and moments, and the gradients that move them, lie in host memory beside the
/// device. On a CPU they do so anyway.
inline bool offloads_optimizer(const Workload& work) {
  return on_device(work) && work.settings.memory.offload == "optimizer";
}

/// What a rank does in a step.
struct Share {
  int64_t ranks = 1;
  int64_t samples = 0;  ///< of a step, on each rank
  int64_t rows = 0;     ///< samples of a micro-batch

  int64_t micro_batches() const { return (samples + rows - 1) / rows; }
};

/// @throws recipes::UserError  as run::require_even_shares()
Share share_among(const Workload& work, int64_t ranks);

}  // namespace sterna::plan
