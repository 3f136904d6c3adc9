#pragma once

#include <chrono>

#include "trainer/dist/gloo.h"

namespace sterna::dist {

/// Collectives between GPUs, each rank on the one that is current for its process.
/// @param timeout  after which NCCL's own watchdog ends a process
/// @throws recipes::UserError  in a program that was built without -DSTERNA_NCCL=ON
Backend make_nccl(const Store& store, const Member& member, std::chrono::milliseconds timeout);

}  // namespace sterna::dist
