#pragma once

#include <string>
#include <vector>

#include "trainer/plan/memory_model.h"
#include "trainer/plan/scaling.h"
#include "trainer/run/step_log.h"

namespace sterna::plan {

/// What one rank would hold and one step would take under a recipe.
struct Planned {
  Share share;
  MemoryEstimate memory;
  ScalePoint scale;

  double tokens_per_second(const Workload& work) const {
    return work.tokens() / scale.step_with_failures();
  }
  double gpu_hours(const Workload& work) const {
    return static_cast<double>(work.settings.train.steps * share.ranks) *
           scale.step_with_failures() / 3600;
  }
};

/// @throws recipes::UserError  as share_among()
Planned planned(const Workload& work, int64_t ranks, const Machine& machine);

/// Bytes of memory that a rank has, and of host memory beside a GPU.
double memory_of(const Machine& machine);
double host_memory_of(const Machine& machine);

/// A machine whose ranks compute in host memory.
inline bool is_cpu(const Machine& machine) {
  return machine.like == "cpu";
}

/// True where a rank's memory takes it, and the host's what lies there: on a CPU the same.
bool has_room(const Planned& planned, const Machine& machine);

/// The recipe under another `[dist]`.
struct Sharded {
  run::DistConfig dist;
  Planned planned;
};

/// Every strategy, with a replicated teacher and, where it can be, a sharded one. One rank has
/// nothing to share: empty.
std::vector<Sharded> every_strategy(const Workload& work, int64_t ranks, const Machine& machine);

/// A recipe changed so that a rank holds less.
struct Remedy {
  std::vector<std::string> changes;  ///< "dist.strategy=zero2"
  Planned planned;
};

/// Each change alone that makes a recipe hold less, with what it brings.
std::vector<Remedy> single_remedies(const Workload& work, int64_t ranks, const Machine& machine);

/// Changes on top of each other, those that cost least time first, until a rank has room; then
/// without those that need not be, those that cost most given up first. No changes where there is
/// room as it is, and none that are enough where nothing is.
/// @return  the last of what was tried; a change of it names one key
Remedy remedies_until_it_fits(const Workload& work, int64_t ranks, const Machine& machine);

}  // namespace sterna::plan
