#pragma once

#include <string>

#include "trainer/run/code_version.h"
#include "trainer/run/session.h"

namespace sterna::run {

/// Ranks that a job is planned and checked for, and that are started on one host, at most.
inline constexpr int64_t kMostRanks = int64_t{1} << 20;
inline constexpr int64_t kMostRanksOfHost = 1024;

/// Refuses a step whose samples do not divide among the ranks, in full micro-batches or one.
/// @throws recipes::UserError  with the numbers that would do
void require_even_shares(const TrainConfig& config, int64_t ranks);

/// Refuses what these ranks cannot do together, or not yet: samples of a step that do not divide,
/// and what `[dist]` cannot be combined with.
/// @throws recipes::UserError  with the numbers that would do
void require_ranks(const Session& session, int64_t ranks);

/// "16 samples a step (the global batch): on each of 2 ranks 2 micro-batches of 4; 1, 2, 4, 8 or 16
/// ranks can share them"
std::string ranks_text(const TrainConfig& config, int64_t ranks);

/// Refuses ranks that were not started alike: they would wait for each other, or train something
/// else.
/// @throws recipes::UserError  on every rank, with both values
void require_same_start(const recipes::Recipe& recipe,
                        bool resume,
                        dist::World& world,
                        const std::string& program = code_version());

/// Refuses ranks that see other files, by the hashes of the session.
/// @throws recipes::UserError  on every rank, with both values
void require_same_files(const Session& session);

}  // namespace sterna::run
