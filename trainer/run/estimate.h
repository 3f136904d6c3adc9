#pragma once

#include <string>
#include <vector>

#include "trainer/run/session.h"

namespace sterna::run {

/// What a run will hold in memory, in bytes.
struct MemoryEstimate {
  double masters = 0;
  double gradients = 0;
  double moments = 0;
  double compute = 0;  ///< the student's weights in its dtype
  double teacher = 0;
  double activations = 0;
  double streams = 0;  ///< block-wise: activations of one layer for all samples

  double total() const;
};
MemoryEstimate estimate_memory(Session& session);

/// Lines that say what a run will need: memory by use, and time from a short measurement of the
/// machine's matrix product.
std::vector<std::string> estimate(Session& session);

/// What to change in a recipe that needs more memory than there is.
extern const char* const kMemoryKnobs;

}  // namespace sterna::run
