#pragma once

#include <string>
#include <vector>

#include "trainer/plan/memory_model.h"

namespace sterna::plan {

/// What a process of this run will hold (memory_model.h).
MemoryEstimate estimate_memory(const run::Session& session);

/// Bytes that this process can come to hold: what it holds, and what the system calls available.
double memory_room();

/// A WARNING that names what to change, strongest first; empty where `needed` bytes fit.
std::string memory_warning(double needed, double room);

/// Lines that say what a run will need: memory by use, a warning where the machine has less, and
/// time from a short measurement of its matrix product.
std::vector<std::string> estimate(const run::Session& session);

/// What to change in a recipe that needs more memory than there is.
extern const char* const kMemoryKnobs;

}  // namespace sterna::plan
