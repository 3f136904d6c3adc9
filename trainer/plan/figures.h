#pragma once

#include <string>
#include <vector>

#include "trainer/plan/report.h"

namespace sterna::plan {

// What both the text and the JSON of `sterna plan` say.

/// Bytes of one part of a rank's memory.
struct MemoryPart {
  std::string name;
  double here = 0;
  double host = 0;  ///< beside its device
};
std::vector<MemoryPart> parts_of(const MemoryEstimate& m);

run::StepFlops flops_of(const Workload& work);

/// Share of the peak that the step's useful operations come to.
double kd_mfu(const PlanReport& report);

int64_t nodes_of(int64_t ranks, const Machine& machine);

/// Tokens a second of a rank, failures left out. @param first  ranks of the first point
double rank_rate(const ScalePoint& point, const Workload& work, int64_t first);

}  // namespace sterna::plan
