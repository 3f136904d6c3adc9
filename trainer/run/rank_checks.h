#pragma once

#include <string>

#include "trainer/run/session.h"

namespace sterna::run {

/// Refuses what these ranks cannot do together, or not yet: samples of a step that do not divide,
/// and what `[dist]` cannot be combined with.
/// @throws recipes::UserError  with the numbers that would do
void require_ranks(const Session& session, int64_t ranks);

/// "16 samples a step (the global batch): on each of 2 ranks 2 micro-batches of 4; 1, 2, 4, 8 or 16
/// ranks can share them"
std::string ranks_text(const TrainConfig& config, int64_t ranks);

}  // namespace sterna::run
