#pragma once

#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "trainer/dist/board.h"

namespace sterna::dist {

using Backend = c10::intrusive_ptr<c10d::Backend>;

/// One rank of a group of processes, as a backend is told of it.
struct Member {
  int64_t rank = 0;
  int64_t size = 1;
  std::string address;                       ///< of this host, where the others reach it
  std::vector<std::string> interfaces = {};  ///< names of network cards; empty: the address's
};

/// Whether this program was built beside Gloo's headers (package libgloo-dev).
bool has_gloo();

/// Collectives over TCP, for tensors in host memory.
/// @throws recipes::UserError  without Gloo; where a card is not there
Backend make_gloo(const Store& store, const Member& member);

}  // namespace sterna::dist
