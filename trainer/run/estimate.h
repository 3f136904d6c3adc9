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
  double loss = 0;     ///< logits of one chunk of tokens, student's and teacher's
  double streams = 0;  ///< block-wise: activations of one layer for all samples
  double program = 0;  ///< libraries, code and what they keep

  double total() const;
};
MemoryEstimate estimate_memory(Session& session);

/// Bytes that this process can come to hold: what it holds, and what the system calls available.
double memory_room();

/// A WARNING that names what to change, strongest first; empty where `needed` bytes fit.
std::string memory_warning(double needed, double room);

/// Lines that say what a run will need: memory by use, a warning where the machine has less, and
/// time from a short measurement of its matrix product.
std::vector<std::string> estimate(Session& session);

/// What to change in a recipe that needs more memory than there is.
extern const char* const kMemoryKnobs;

}  // namespace sterna::run
