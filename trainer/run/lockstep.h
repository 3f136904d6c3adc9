#pragma once

#include <memory>

#include "distill/objective.h"
#include "trainer/run/inputs.h"

namespace sterna::run {

using at::Tensor;

/// The teacher beside the student through one micro-batch, part by part (0 is the embedding, 1 to L
/// the blocks, L + 1 the final norm). It is always one part ahead, and forgets what it computed
/// there when the student has been compared: one layer of its activations is alive at a time.
class Lockstep {
 public:
  /// Which samples of which step the micro-batch holds: what draws depend on.
  struct Place {
    int64_t seed = 0;
    int64_t step = 0;
    int64_t first_sample = 0;
  };

  /// All arguments but the place outlive the object.
  Lockstep(const model::Decoder& teacher,
           const distill::Objective& objective,
           const distill::Counts& totals,
           const Place& place);

  void begin(const Inputs& inputs);

  /// Runs the teacher's part. @return  what the student's block is to do with its attention there
  model::AttentionOutput advance(int64_t part);

  /// Compares hidden states behind a part.
  /// @param student  [B, T, D], cut from every graph
  /// @return         gradient for it, undefined where there is none
  Tensor compare(int64_t part, const Tensor& student);

  /// What the teacher's head reads, behind the last part.
  const Tensor& hidden() const { return x_; }
  const Tensor& sums() const { return sums_; }  ///< fp64 [terms]: that of hidden states
  double milliseconds() const { return ms_; }   ///< the teacher's

 private:
  Tensor drawn_rows(int64_t layer, bool& any, bool& all) const;
  Tensor keep(const Tensor& gradient);

  const model::Decoder& teacher_;
  const distill::Objective& objective_;
  const distill::Counts& totals_;
  Place place_;
  bool swaps_;
  Inputs inputs_;
  std::unique_ptr<kvcache::Cache> cache_;
  Tensor x_;
  Tensor sums_;
  Tensor kept_;  ///< [compared sites, B, T, D]: gradients that wait for the way back
  int64_t kept_count_ = 0;
  double ms_ = 0;
};

}  // namespace sterna::run
