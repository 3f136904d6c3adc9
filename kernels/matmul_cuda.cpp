// Which kernel multiplies how many tokens, and what none does.
#include "kernels/matmul_cuda.h"

namespace sterna::kernels {
namespace {

constexpr int64_t kMostTokens = 65535;  // of a launch's second dimension, times a block's tokens

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

Status check(const GpuMatrix& w, int64_t m, const void* x) {
  if (m < 0 || w.n < 0 || w.k <= 0 || w.group <= 0 || w.k % w.group != 0)
    return Status::kInvalidShape;
  if (w.group != w.k && w.group % kStepInputs != 0)
    return Status::kUnsupported;
  return aligned(w.data) && aligned(x) && m <= kMostTokens ? Status::kOk : Status::kUnsupported;
}

}  // namespace

Status matmul_a8_cuda(const GpuMatrix& w, const QuantizedRows& x, float* y, CUstream_st* stream) {
  if (x.k != w.k || x.group != w.group)
    return Status::kInvalidShape;
  if (w.format == CodeFormat::kTable || x.planes != 1)
    return Status::kUnsupported;
  const Status status = check(w, x.m, x.codes);
  if (status != Status::kOk || x.m == 0 || w.n == 0)
    return status;
  return x.m <= cuda::kMostStreamTokens ? cuda::stream_a8(w, x, y, stream)
                                        : cuda::gemm_a8(w, x, y, stream);
}

Status matmul_a16_cuda(
    const GpuMatrix& w, int64_t m, const Bf16* x, float* y, CUstream_st* stream) {
  const Status status = check(w, m, x);
  if (status != Status::kOk || m == 0 || w.n == 0)
    return status;
  const bool tensor = m > 4 && w.format != CodeFormat::kTable && w.k % 8 == 0;
  return tensor ? cuda::gemm_a16(w, m, x, y, stream) : cuda::stream_a16(w, m, x, y, stream);
}

}  // namespace sterna::kernels
