#pragma once

#include <cstdint>

#include "kernels/status.h"

struct CUstream_st;  // what cudaStream_t points to; spares CPU builds the CUDA headers

namespace sterna::kernels {

/// What a value is rounded to, to nearest, ties to even.
enum class FloatType { kFloat32, kBfloat16, kFloat16 };

/// Problem size of dequantize. G = k / group scales a row.
struct DequantizeShape {
  int64_t n = 0;               ///< rows
  int64_t k = 0;               ///< columns
  int64_t group = 0;           ///< columns that share a scale; divides k
  bool shared_scales = false;  ///< all rows use the scales (and zeros) of one row, [1, G]
};

/// Codes on an affine grid: value = (float(code) - zero) * scale.
struct AffineCodes {
  const int8_t* codes = nullptr;  ///< [N, K], row-major
  const float* scales = nullptr;  ///< [N, G]
  const float* zeros = nullptr;   ///< [N, G], or null where `offset` serves all
  float offset = 0;
};

/// out[n, k] = (float(code[n, k]) - zero[n, k / group]) * scale[n, k / group] for the rows
/// row_begin <= n < row_end: one fp32 subtraction and one fp32 multiplication, then one rounding.
/// On one thread: who calls hands the row ranges to threads.
///
/// @param out  [N, K] of `type`, the first row of the whole matrix
Status dequantize(const DequantizeShape& shape,
                  const AffineCodes& in,
                  int64_t row_begin,
                  int64_t row_end,
                  FloatType type,
                  void* out);

/// The definition that dequantize and dequantize_cuda are tested against, bit for bit.
Status dequantize_reference(const DequantizeShape& shape,
                            const AffineCodes& in,
                            int64_t row_begin,
                            int64_t row_end,
                            FloatType type,
                            void* out);

/// The same for all rows on the GPU; present where STERNA_HAS_CUDA_KERNELS is defined. Every
/// pointer is a device pointer; returns when the launch is queued on `stream`.
Status dequantize_cuda(const DequantizeShape& shape,
                       const AffineCodes& in,
                       FloatType type,
                       void* out,
                       CUstream_st* stream);

/// True where group divides k and no size is negative; the check that every variant makes first.
constexpr bool valid(const DequantizeShape& shape) {
  return shape.n >= 0 && shape.k >= 0 && shape.group > 0 && shape.k % shape.group == 0;
}

}  // namespace sterna::kernels
