#pragma once

#include <cstdint>
#include <string>

namespace sterna::run {

/// Learning rate over the steps of a stage: linear warm-up, then a curve down to `final`.
struct Schedule {
  std::string curve = "cosine";  ///< cosine, linear, constant
  int64_t steps = 0;             ///< attempts the curve is spread over
  int64_t warmup = 0;            ///< attempts that rise linearly; the first one is not zero
  double final = 0.0;            ///< fraction of the peak at the last attempt

  /// Factor for the peak rate. Counts attempts, not applied steps, so that a skipped step does not
  /// shift the curve.
  /// @param attempt  0, 1, 2, ...
  double factor(int64_t attempt) const;
};

}  // namespace sterna::run
