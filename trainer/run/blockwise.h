#pragma once

#include <functional>

#include "trainer/data/samples.h"
#include "trainer/dist/world.h"
#include "trainer/run/config.h"
#include "trainer/run/tape.h"

namespace sterna::run {

/// What training one block brought. Errors are the mean square of (output - target), divided by
/// the mean square of what the full-precision block adds to its input.
struct BlockReport {
  int64_t block = 0;
  int64_t steps = 0;
  double error_before = 0;  ///< first batch, after rounding alone
  double error_after = 0;   ///< mean of the last epoch's last quarter
  double quant_ms = 0;      ///< encode, decode and the quantizers' backward
  double train_ms = 0;
  double total_ms = 0;
  bool stable = true;  ///< false: gradients were not finite and steps were skipped
};

/// Called after every step of a block with (steps done, steps in all, error of the batch).
using BlockProgress = std::function<void(int64_t, int64_t, double)>;

/// What a block-wise stage works with; everything outlives it.
struct BlockwiseParts {
  Student& student;
  const model::Decoder& teacher;  ///< in full precision, of the student's shapes
  const data::SampleSource& samples;
  dist::World& world;  ///< every rank has the whole student, and leaves the stage with the same one
};

/// Block-wise reconstruction: one decoder block after the other is trained so that its output
/// equals the full-precision block's. Each rank takes its share of every batch: errors and
/// gradients are sums over all. Holds three streams, in fp32 and for the own samples: the block's
/// input in student and teacher and its target (two where the input is the teacher's anyhow).
class Blockwise {
 public:
  Blockwise(const BlockwiseParts& parts, const BlockwiseConfig& config);

  /// Runs the blocks before `block` forward, as after an interruption; the first call must be this.
  /// Meets no other rank.
  void start(int64_t block);

  /// Trains the next block and moves both streams of activations behind it; collective.
  /// @throws Interrupted  on all ranks, with the block's weights as they were before
  BlockReport run(const BlockProgress& progress);

 private:
  struct Snapshot;
  /// This rank's samples of a batch.
  struct Share {
    int64_t first = 0;  ///< of all samples
    int64_t at = 0;     ///< in the streams
    int64_t count = 0;  ///< may be none
    int64_t batch = 0;  ///< samples of the batch on all ranks
  };
  std::vector<Slot*> trained_slots();
  int64_t batches() const { return static_cast<int64_t>(shares_.size()); }
  Tensor rows(const Tensor& stream, int64_t batch) const;
  double power_of_block() const;
  void advance_student();
  void advance_teacher(Tensor& out);
  void train(const std::vector<Slot*>& slots, BlockReport& report, const BlockProgress& progress);
  double step(const std::vector<Slot*>& slots, const quant::Progress& at, BlockReport& report);
  Tensor forward(const model::Decoder& decoder, const Tensor& x, int64_t batch) const;

  double meet(const std::vector<Slot*>& slots, double error);

  Student& student_;
  const model::Decoder& teacher_;
  const data::SampleSource& samples_;
  dist::World& world_;
  BlockwiseConfig config_;
  int64_t block_ = 0;
  std::vector<Share> shares_;   ///< of every batch
  std::vector<Inputs> inputs_;  ///< likewise, of the own samples
  Tensor student_x_;  ///< fp32 [own samples, T, D], input of block_; undefined with input = "full"
  Tensor teacher_x_;
  Tensor target_;  ///< the full-precision block's output for teacher_x_
  double power_ = 1;
};

}  // namespace sterna::run
