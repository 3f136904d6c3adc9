#include "kernels/cpu.h"

#include <cpuid.h>
#include <cstdlib>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace sterna::kernels {
namespace {

constexpr const char* kVariable = "STERNA_KERNEL";

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
}

/// Tiles hold 8 KiB a thread, which Linux saves for processes that have asked for them.
bool has_amx() {
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTile) == 0 || (d & kInt8) == 0)
    return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuLevel strongest() {
  CpuLevel best = CpuLevel::kPortable;
  for (const CpuLevel level : kCpuLevels)
    best = supports(level) ? level : best;
  return best;
}

/// The level that the variable names; null where it names none.
const CpuLevel* named(const char* name) {
  for (const CpuLevel& level : kCpuLevels)
    if (std::strcmp(name, name_of(level)) == 0)
      return &level;
  return nullptr;
}

}  // namespace

const char* name_of(CpuLevel level) {
  constexpr const char* kNames[] = {"portable", "avx2", "avx512", "amx"};
  return kNames[static_cast<int>(level)];
}

bool supports(CpuLevel level) {
  if (level == CpuLevel::kAmx) {
    static const bool amx = has_avx512() && has_amx();
    return amx;
  }
  if (level == CpuLevel::kAvx512)
    return has_avx512();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

CpuLevel cpu_level() {
  static const CpuLevel chosen = [] {
    const char* name = std::getenv(kVariable);
    const CpuLevel* level = name != nullptr ? named(name) : nullptr;
    return level != nullptr && supports(*level) ? *level : strongest();
  }();
  return chosen;
}

std::string forced_level_problem() {
  const char* name = std::getenv(kVariable);
  if (name == nullptr)
    return "";
  const CpuLevel* level = named(name);
  if (level != nullptr && supports(*level))
    return "";
  std::string problem = std::string(kVariable) + "=" + name +
                        (level == nullptr ? ": no such variant" : ": this machine lacks it") +
                        "; it has";
  for (const CpuLevel each : kCpuLevels)
    problem += supports(each) ? std::string(" ") + name_of(each) : "";
  return problem + ". Unset it to take the strongest.";
}

}  // namespace sterna::kernels
