#pragma once

#include <cstdint>
#include <limits>

#include "kernels/cpu.h"
#include "kernels/fake_quantize.h"
#include "kernels/norm.h"
#include "kernels/status.h"

struct CUstream_st;

namespace sterna::kernels {

/// Bytes between rows of int8 activations: an odd number of cache lines, so that rows do not fall
/// into the same sets of the cache. Bytes past K are zeros.
constexpr int64_t activation_stride(int64_t k) {
  return ((k + 63) / 64 | 1) * 64;
}

/// Activations as 8-bit integers: x[m, k] ~ codes[m, k] * scales[m].
struct QuantizedRows {
  int64_t m = 0;
  int64_t k = 0;
  int64_t group = 0;              ///< inputs that a sum covers: the weights' group
  const int8_t* codes = nullptr;  ///< [planes M, activation_stride(K)]
  const float* scales = nullptr;  ///< [planes M]
  const int32_t* sums = nullptr;  ///< [planes M, K / group], of the codes
  int64_t planes = 1;             ///< rows whose values add up to a token's: 1, or split_rows' 3
};

/// Where quantize_rows writes.
struct QuantizedBuffers {
  int8_t* codes = nullptr;
  float* scales = nullptr;
  int32_t* sums = nullptr;
};

/// How a row's scale follows from its largest magnitude a: step = max(min(a, clip), 1e-5) / top.
struct RowRule {
  float top = 127;  ///< largest code, 2^(bits-1) - 1
  float clip = std::numeric_limits<float>::infinity();
};

/// codes = clamp(round(x / step), -top, top) by the operations of fake_quantize(), so that
/// codes * step is what a model trained with quant's `per_token` activations computed with. A row
/// with NaN or infinity gets the scale NaN.
///
/// @param x      fp32 [rows.m, rows.k]
/// @param grids  [rows.m]: grids of another origin than the rule, of origin 0 and codes within
///               -128 .. 127, or null
/// @param rows   m, k, group; its pointers are not read
/// @return       kInvalidShape, kUnsupported for other grids
Status quantize_rows(const QuantizedRows& rows,
                     const float* x,
                     const RowRule& rule,
                     const ActGrid* grids,
                     const QuantizedBuffers& out);

/// Activations as sums of three 8-bit integers: x ~ code 2^16 s + code 2^8 s + code s, with
/// |x - sum| <= 2^-22 max|x| of the row; rows beneath 1e-30 are as inexact as those of 1e-30. NaN
/// and infinity as above.
/// @param rows  m, k, group; out has room for 3 m rows
Status split_rows(const QuantizedRows& rows, const float* x, const QuantizedBuffers& out);

/// quantize_rows of rms_norm(x, weight) without writing that; the bits of both in succession.
/// @param eps  of the norm; `width` is rows.k
Status rms_norm_quantize_rows(const QuantizedRows& rows,
                              const float* x,
                              const float* weight,
                              float eps,
                              const RowRule& rule,
                              const QuantizedBuffers& out,
                              CpuLevel level = cpu_level());

/// quantize_rows by the rule on the GPU, the same bits; present where STERNA_HAS_CUDA_KERNELS is
/// defined. Every pointer is a device pointer; returns when the launch is queued on `stream`.
Status quantize_rows_cuda(const QuantizedRows& rows,
                          const float* x,
                          const RowRule& rule,
                          const QuantizedBuffers& out,
                          CUstream_st* stream);
Status quantize_rows_cuda(const QuantizedRows& rows,
                          const Bf16* x,
                          const RowRule& rule,
                          const QuantizedBuffers& out,
                          CUstream_st* stream);

}  // namespace sterna::kernels
