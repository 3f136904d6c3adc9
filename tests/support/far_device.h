#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace sterna::tests {

/// A device for programs without a GPU: LibTorch's PrivateUse1, whose memory lies on pages that
/// nobody may touch except while a copy runs, so that a pointer of a tensor there that is read on
/// the host ends the program. Operations are those of the CPU, on copies
/// (at::native::cpu_fallback). It has one stream beside the usual one: what that copies without
/// blocking is copied only when somebody waits for it, so that who forgets to wait reads what was
/// there before.
at::Device far_device();

/// False where there is a GPU: autograd knows one kind of device beside the CPU.
bool has_far_device();

/// What the device's memory held and what crossed its border; operations themselves do not count.
struct FarFigures {
  int64_t bytes = 0;         ///< now
  int64_t peak = 0;          ///< since forget_far_peak()
  int64_t bytes_up = 0;      ///< copied from host memory
  int64_t bytes_down = 0;    ///< copied into it
  int64_t bytes_beside = 0;  ///< of these, while the host went on
  int64_t waits = 0;         ///< values that the host asked for: item()
};
FarFigures far_figures();
void forget_far_peak();

}  // namespace sterna::tests
