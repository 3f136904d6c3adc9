#pragma once

#include <cstdint>

namespace sterna::cli {

/// Sets how many CPU threads this process computes with: what the recipe says, else STERNA_THREADS,
/// else one per core. Every verb starts with it.
/// @param wanted  `train.threads`; 0 where no recipe says so
/// @throws recipes::UserError  where STERNA_THREADS is no such number
void use_threads(int64_t wanted);

/// The default of a rank: its share of the cores, unless OMP_NUM_THREADS says otherwise. What
/// use_threads() finds wins.
/// @param ranks  of this host
void share_cores(int64_t ranks);

}  // namespace sterna::cli
