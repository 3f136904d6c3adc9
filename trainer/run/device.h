#pragma once

#include <optional>
#include <string>

#include <ATen/ATen.h>

#include "trainer/run/config.h"

namespace sterna::run {

/// A process among those of its host.
struct LocalRank {
  int64_t rank = 0;
  int64_t ranks = 1;
};

/// What program and machine have of a kind of device.
struct DevicesFound {
  bool built = false;   ///< the program can use it
  int64_t visible = 0;  ///< devices
};
DevicesFound find_cuda();

/// The device that `train.device` means for a process: of several, that of its number on its host.
/// @throws recipes::UserError  where the program knows none, none is visible, or ranks have too few
at::Device choose_device(const std::string& wanted,
                         const LocalRank& local,
                         const DevicesFound& cuda = find_cuda());

/// Makes it the one that this thread's work goes to where nothing else is said.
void use_device(at::Device device);

/// Most bytes that tensors have taken on it so far; nothing where it does not count them.
std::optional<int64_t> peak_memory(at::Device device);

// ---- `train.deterministic`

/// Sets what cuBLAS and NCCL read when they begin; before the ranks connect, for threads may read
/// the environment then.
/// @throws recipes::UserError  where the user has set a variable to something else
void set_deterministic_environment();

/// ATen takes deterministic kernels alone while this lives.
class Deterministic {
 public:
  explicit Deterministic(bool wanted);
  ~Deterministic();
  Deterministic(const Deterministic&) = delete;
  Deterministic& operator=(const Deterministic&) = delete;

 private:
  bool wanted_;
};

}  // namespace sterna::run
