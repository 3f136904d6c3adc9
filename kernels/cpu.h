#pragma once

#include <cstdint>

namespace sterna::kernels {

/// A brain float as it lies in memory: the upper half of a float.
struct Bf16 {
  uint16_t bits;
};

/// Instruction sets that a kernel may have a variant for, weakest first. kAvx2 is what the whole
/// program is compiled for.
enum class CpuLevel { kAvx2, kAvx512 };

/// True where this machine runs the variants of `level`.
bool supports(CpuLevel level);

/// The strongest level that this machine supports; what a kernel takes when none is named.
CpuLevel cpu_level();

}  // namespace sterna::kernels
