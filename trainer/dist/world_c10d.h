#pragma once

#include <memory>

#include "trainer/dist/gloo.h"
#include "trainer/dist/pulse.h"
#include "trainer/dist/world.h"

namespace sterna::dist {

/// The ranks of a job that run collectives together, and how their connections are made.
struct Circle {
  std::vector<int64_t> ranks;  ///< of the job, ascending
  int64_t rank = 0;            ///< this process among them
  std::string name;            ///< of the circle, the same on all its ranks
};
/// Connects the ranks of a circle for tensors of that device; every rank calls it at the same
/// place.
using Connect = std::function<Backend(const Circle& circle, at::DeviceType device)>;

/// Collectives through c10d. A collective that fails ends the job, by the pulse.
/// @param pulse  outlives the world
std::unique_ptr<World> make_c10d(const Connect& connect, const Circle& circle, Pulse& pulse);

}  // namespace sterna::dist
