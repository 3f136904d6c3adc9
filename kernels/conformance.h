#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cpu.h"

namespace sterna::kernels {

/// A product of dINT weights and 8-bit activations with what it must come to, for whoever writes a
/// kernel of this format. A weight is levels[zero][code] * scale; twice a level is an integer.
///   sums[m, n, g] = sum over group g of 2 level x, exact
///   y[m, n]       = sum over g, ascending, of fp32(sums) * (scale[n, g] / 2 * x_scale[m]), each
///                   operation rounded to fp32 by itself, from +0 on
struct DintVector {
  std::string name;  ///< "dint4 symmetric, groups of 32"
  int64_t bits = 0;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t group = 0;
  std::vector<std::vector<float>> levels;  ///< ascending; a row for each zero
  std::vector<int8_t> codes;               ///< [N, K], levels from below
  std::vector<float> scales;               ///< [N, G]
  std::vector<int32_t> zeros;              ///< [N, G], rows of levels
  std::vector<int8_t> x;                   ///< [M, K]
  std::vector<float> x_scales;             ///< [M]
  std::vector<int32_t> sums;               ///< [M, N, G]
  std::vector<float> y;                    ///< [M, N]
};

/// The set: the same on every machine. Three and four bits, symmetric and asymmetric, a scale a row
/// or a group, every code at every zero, ends of the range throughout, a row of zeros, K of 1 and
/// of 16,384.
std::vector<DintVector> dint_vectors();

/// True where matmul_a8 at `level` gives y bit for bit.
bool conforms(const DintVector& vector, CpuLevel level);

}  // namespace sterna::kernels
