#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/plan/report.h"

namespace sterna::plan {

// What both the text and the JSON of `sterna plan` say.

/// Parts of a rank's memory by name, in bytes.
std::vector<std::pair<std::string, double>> parts_of(const MemoryEstimate& m);

run::StepFlops flops_of(const Workload& work);

/// Share of the peak that the step's useful operations come to.
double kd_mfu(const PlanReport& report);

int64_t nodes_of(int64_t ranks, const Machine& machine);

bool has_room(const Planned& planned, const PlanReport& report);

/// Tokens a second of a rank, failures left out. @param first  ranks of the first point
double rank_rate(const ScalePoint& point, const Workload& work, int64_t first);

}  // namespace sterna::plan
