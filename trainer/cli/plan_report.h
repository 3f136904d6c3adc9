#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "trainer/run/machine.h"
#include "trainer/run/planning.h"

namespace sterna::cli {

/// What `sterna plan` prints and writes.
struct PlanReport {
  const run::Workload& work;
  const run::Machine& machine;
  run::Planned planned;
  std::vector<run::Sharded> strategies;  ///< empty for one rank
  std::vector<run::Remedy> single;       ///< empty where a rank has room
  run::Remedy together;                  ///< its changes are empty where a rank has room

  bool fits() const;
};

void print_report(const PlanReport& report, std::ostream& out);

/// `format: 1`; bytes and seconds.
nlohmann::ordered_json to_json(const PlanReport& report);

void print_scaling(const std::vector<run::ScalePoint>& points,
                   const run::Workload& work,
                   const run::Machine& machine,
                   std::ostream& out);

/// `format: 1`
nlohmann::ordered_json to_json(const std::vector<run::ScalePoint>& points,
                               const run::Workload& work,
                               const run::Machine& machine);

}  // namespace sterna::cli
