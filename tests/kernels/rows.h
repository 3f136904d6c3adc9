#pragma once

#include <bit>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace sterna::kernels {

/// randn^3 * scale: a few values tower over the rest.
inline std::vector<float> heavy_tailed(int64_t size, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(size));
  for (float& x : values) {
    const float z = normal(generator);
    x = z * z * z * scale;
  }
  return values;
}

inline float widen(float x) {
  return x;
}
inline float widen(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

/// To nearest, ties to even; for finite values.
inline Bf16 to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <class T>
std::vector<T> as(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float x : values) {
    if constexpr (std::is_same_v<T, float>)
      result.push_back(x);
    else
      result.push_back(to_bf16(x));
  }
  return result;
}

/// What a stored T may differ by, relative.
template <class T>
inline constexpr double kRounding = std::is_same_v<T, float> ? 1e-6 : 1.0 / 256;

/// Runs a test once for each instruction set; a set that the machine lacks is skipped by name.
class EveryCpu : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override {
    if (!supports(GetParam()))
      GTEST_SKIP() << "this machine has no " << name_of(GetParam());
  }
};

inline std::string cpu_name(const testing::TestParamInfo<CpuLevel>& info) {
  return name_of(info.param);
}

#define STERNA_ON_EVERY_CPU(suite) \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, testing::ValuesIn(kCpuLevels), cpu_name)

}  // namespace sterna::kernels
