#pragma once

#include <cstdint>
#include <string>

namespace sterna::run {

/// Learning rate over the steps of a stage: linear warm-up, then a curve down to `final`.
///   cosine, linear  fall from the first step behind the warm-up to the last
///   constant        stays
///   wsd             warm-up, stable, decay (MiniCPM, arXiv:2404.06395): falls linearly over the
///                   last `fall` of all steps
///   two_stage       BitNet b1.58's: linear, times `second` from the middle of all steps on; there
///                   the weight decay ends
///   bert            BertAdam's: attempt / warmup, then linear to 0 at `steps`; the first rate is 0
struct Schedule {
  std::string curve = "cosine";
  int64_t steps = 0;        ///< attempts the curve is spread over
  int64_t warmup = 0;       ///< attempts that rise linearly; the first one is not zero
  double final = 0.0;       ///< fraction of the peak at the last attempt
  double fall = 0.1;        ///< wsd: fraction of the attempts
  double second = 2.0 / 3;  ///< two_stage: factor of the second half

  /// Factor for the peak rate. Counts attempts, not applied steps, so that a skipped step does not
  /// shift the curve.
  /// @param attempt  0, 1, 2, ...
  double factor(int64_t attempt) const;

  /// Factor for the weight decay.
  double decay_factor(int64_t attempt) const;

 private:
  bool in_second_half(int64_t attempt) const { return 2 * attempt >= steps; }
  double shape(int64_t attempt) const;
};

}  // namespace sterna::run
