#pragma once

#include <cstdint>

#include "kernels/cpu.h"
#include "kernels/gpu_matrix.h"
#include "kernels/packed_matrix.h"
#include "kernels/quantize_rows.h"
#include "kernels/status.h"

struct CUstream_st;

namespace sterna::kernels {

/// Outputs n_begin <= n < n_end of a product; n_begin is a multiple of 16, n_end too or N. Who
/// calls hands ranges to threads: of outputs here, of tokens by the rows of x and y.
struct OutputRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// y[m, n] = sum over groups g, ascending, of float(I) * (stored scale[n, g] * x.scales[m]), where
/// I = sum of D[n, k] x.codes[m, k] over the group, an exact integer; of several planes, in each
/// group one after the other. Products and sums of floats are rounded one by one, nothing is
/// fused: every variant gives the same bits.
/// On one thread, without allocating.
///
/// @param w  of a whole format
/// @param x  of w's k and group
/// @param y  fp32 [M, N], the first output of the whole product
Status matmul_a8(const PackedMatrix& w,
                 const QuantizedRows& x,
                 const OutputRange& range,
                 float* y,
                 CpuLevel level = cpu_level());

/// The definition.
Status matmul_a8_reference(const PackedMatrix& w,
                           const QuantizedRows& x,
                           const OutputRange& range,
                           float* y);

/// y = x W^T for fp32 activations (bf16 ones are exact in it), weights as decoded, no rounding of
/// x to 8 bits. Of whole formats matmul_a8 of split_rows(x), the same bits on every variant:
///   |y - exact| <= (G + 12) 2^-24 max|x| sum|w|  per element
/// Of a table, floats added up in an order of the variant's own:
///   |y - exact| <= (K + 4) 2^-24 sum|w x|
/// On one thread; it allocates room for 32 tokens' integers.
///
/// @param x  fp32 [M, K]
/// @param y  fp32 [M, N]
Status matmul_a16(const PackedMatrix& w,
                  int64_t m,
                  const float* x,
                  const OutputRange& range,
                  float* y,
                  CpuLevel level = cpu_level());

/// The definition: the sum in double, in order, rounded once.
Status matmul_a16_reference(
    const PackedMatrix& w, int64_t m, const float* x, const OutputRange& range, float* y);

/// matmul_a8 of all outputs on the GPU, the same bits; present where STERNA_HAS_CUDA_KERNELS is
/// defined, as are those below. Every pointer is a device pointer; returns when the launches are
/// queued on `stream`, without allocating: a CUDA graph may capture it.
///
/// @param x  codes aligned to 16 bytes
/// @return   kUnsupported also for pointers of other alignment
Status matmul_a8_cuda(const GpuMatrix& w, const QuantizedRows& x, float* y, CUstream_st* stream);

/// y = x W^T for bf16 activations, added up in fp32. Tensor cores, which more than four tokens run
/// on, cut what they add up where processors round it: |y - exact| <= (K + 4) 2^-22 sum |w x|.
///
/// @param x  bf16 [M, K], aligned to 16 bytes
/// @param y  fp32 [M, N]
Status matmul_a16_cuda(const GpuMatrix& w, int64_t m, const Bf16* x, float* y, CUstream_st* stream);

}  // namespace sterna::kernels
