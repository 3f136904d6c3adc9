#pragma once

#include <vector>

#include "trainer/plan/step_time.h"

namespace sterna::plan {

/// Mean of the slowest of `ranks` equal ranks over the mean of one, where the logarithms of their
/// times are normal with deviation `sigma`.
double slowest_of(int64_t ranks, double sigma);

/// Failures of a job, and checkpoints against them.
struct Failures {
  double between = 0;     ///< mean seconds from one to the next
  double checkpoint = 0;  ///< seconds that training waits for one
  double interval = 0;    ///< seconds of training between two
  double lost = 0;  ///< share of training time that checkpoints, repeated work and restarts add
};

/// Daly's interval (2006), of which Young's sqrt(2 checkpoint between) is the first term.
double daly_interval(double checkpoint, double between);

/// @param bytes  of a checkpoint; every node writes its part
Failures failures_of(double bytes, int64_t ranks, const Machine& machine);

/// A number of ranks, each doing the same work (weak scaling).
struct ScalePoint {
  int64_t ranks = 1;
  StepTime time;
  double waiting = 0;  ///< seconds of a step for the slowest rank
  Failures failures;

  double step() const { return time.total() + waiting; }
  double step_with_failures() const { return step() * (1 + failures.lost); }
};
ScalePoint scale_point(const Workload& work, const Share& share, const Machine& machine);

/// `share` on `first`, 2 * first, ... up to `last` ranks.
std::vector<ScalePoint> weak_scaling(const Workload& work,
                                     const Share& share,
                                     int64_t last,
                                     const Machine& machine);

}  // namespace sterna::plan
