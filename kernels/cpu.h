#pragma once

#include <cstdint>
#include <string>

namespace sterna::kernels {

/// A brain float as it lies in memory: the upper half of a float.
struct Bf16 {
  uint16_t bits;
};

/// Variants that a kernel may have, weakest first; one that lacks a variant takes the next weaker.
///   kPortable  plain loops; where there are none, what kAvx2 takes
///   kAvx2      what the whole program is compiled for
///   kAvx512    with byte products (VNNI) and byte permutations (VBMI): Ice Lake, Zen 4 and later
///   kAmx       tiles of bytes, which the operating system has to allow
enum class CpuLevel { kPortable, kAvx2, kAvx512, kAmx };

constexpr CpuLevel kCpuLevels[] = {
    CpuLevel::kPortable, CpuLevel::kAvx2, CpuLevel::kAvx512, CpuLevel::kAmx};

/// "portable", "avx2", "avx512", "amx".
const char* name_of(CpuLevel level);

/// True where this machine runs the variants of `level`.
bool supports(CpuLevel level);

/// What a kernel takes when no level is named: what the environment's STERNA_KERNEL says, else the
/// strongest that this machine supports; read once.
CpuLevel cpu_level();

/// Why STERNA_KERNEL cannot be obeyed, for the program to refuse with; empty where it can.
std::string forced_level_problem();

}  // namespace sterna::kernels
