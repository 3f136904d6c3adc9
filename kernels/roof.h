#pragma once

#include <cstdint>

#include "kernels/cpu.h"

namespace sterna::kernels {

// Loops that do nothing but what bounds a kernel: measured beside it, they say how much of the
// machine it uses.

/// Runs `rounds` rounds of the level's product of bytes on registers: VNNI at kAvx512, tiles at
/// kAmx. @return  multiplications and additions done
int64_t byte_product_roof(int64_t rounds, CpuLevel level = cpu_level());

/// Reads `bytes` at p once, as `streams` (1, 2, 4, 8) runs side by side. @return  a checksum
uint64_t read_roof(const uint8_t* p, int64_t bytes, int streams, CpuLevel level = cpu_level());

}  // namespace sterna::kernels
