// Compiled and linked where STERNA_NCCL is on; not run yet, for want of a machine with a GPU
// (scripts/gpu runs it on one, with a world of one).
#include "trainer/dist/nccl.h"

#include "recipes/user_error.h"

#ifdef STERNA_HAS_NCCL
#pragma GCC diagnostic ignored "-Winterference-size"  // of LibTorch's headers
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace sterna::dist {

#ifdef STERNA_HAS_NCCL

Backend make_nccl(const Store& store, const Member& member, std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(
      store, static_cast<int>(member.rank), static_cast<int>(member.size), options);
}

#else

Backend make_nccl(const Store&, const Member&, std::chrono::milliseconds) {
  throw recipes::UserError(
      "this program was built without NCCL and knows no collectives between GPUs: configure with "
      "-DSTERNA_NCCL=ON and build again");
}

#endif

}  // namespace sterna::dist
