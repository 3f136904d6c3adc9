#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "trainer/plan/machine.h"
#include "trainer/plan/planning.h"

namespace sterna::plan {

/// What `sterna plan` prints and writes.
struct PlanReport {
  const Workload& work;
  const Machine& machine;
  Planned planned;
  std::vector<Sharded> strategies;  ///< empty for one rank
  std::vector<Remedy> single;       ///< empty where a rank has room
  Remedy together;                  ///< its changes are empty where a rank has room

  bool fits() const;
};

void print_report(const PlanReport& report, std::ostream& out);

/// `format: 1`; bytes and seconds.
nlohmann::ordered_json to_json(const PlanReport& report);

void print_scaling(const std::vector<ScalePoint>& points,
                   const Workload& work,
                   const Machine& machine,
                   std::ostream& out);

/// `format: 1`
nlohmann::ordered_json to_json(const std::vector<ScalePoint>& points,
                               const Workload& work,
                               const Machine& machine);

}  // namespace sterna::plan
