#pragma once

#include <cstdint>

namespace sterna::cli {

/// Sets how many CPU threads this process computes with: what the recipe says, else STERNA_THREADS,
/// else one per core. Every verb starts with it.
/// @param wanted  `train.threads`; 0 where no recipe says so
/// @throws recipes::UserError  where STERNA_THREADS is no such number
void use_threads(int64_t wanted);

}  // namespace sterna::cli
