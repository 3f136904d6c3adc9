#include "kernels/cpu.h"

namespace sterna::kernels {

bool supports(CpuLevel level) {
  if (level == CpuLevel::kAvx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

CpuLevel cpu_level() {
  static const CpuLevel level = supports(CpuLevel::kAvx512) ? CpuLevel::kAvx512 : CpuLevel::kAvx2;
  return level;
}

}  // namespace sterna::kernels
