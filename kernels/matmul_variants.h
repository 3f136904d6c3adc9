// The variants behind matmul.h, by instruction set. Shapes have been checked, nothing is empty.
#pragma once

#include "kernels/matmul.h"

#define STERNA_DECLARE_VARIANTS                                                            \
  void matmul_a8(const PackedMatrix&, const QuantizedRows&, const OutputRange&, float* y); \
  void matmul_a16(const PackedMatrix&, int64_t m, const float* x, const OutputRange&, float* y);

namespace sterna::kernels::portable {
STERNA_DECLARE_VARIANTS
}
namespace sterna::kernels::avx2 {
STERNA_DECLARE_VARIANTS
}
namespace sterna::kernels::avx512 {
STERNA_DECLARE_VARIANTS
}
#undef STERNA_DECLARE_VARIANTS

namespace sterna::kernels::amx {
/// False for one token and for groups that tiles do not divide: the AVX-512 variant's.
bool takes(const PackedMatrix& w, const QuantizedRows& x);
void matmul_a8(const PackedMatrix&, const QuantizedRows&, const OutputRange&, float* y);
}  // namespace sterna::kernels::amx
