// Activations as 8-bit integers.
#include "kernels/gpu_device.h"
#include "kernels/gpu_quantize_body.h"
#include "kernels/matmul_cuda.h"

namespace sterna::kernels {
namespace {

template <class X>
__global__ void __launch_bounds__(QuantizeRow<X>::kThreads) quantize_kernel(
    const QuantizedRows rows, const X* x, const RowRule rule, QuantizedBuffers out) {
  __shared__ typename QuantizeRow<X>::Shared shared;
  QuantizeRow<X>(rows, x, shared).run(rule, out);
}

template <class X>
Status launch_quantize(const QuantizedRows& rows,
                       const X* x,
                       const RowRule& rule,
                       const QuantizedBuffers& out,
                       cudaStream_t stream) {
  if (rows.m < 0 || rows.k <= 0 || rows.group <= 0 || rows.k % rows.group != 0)
    return Status::kInvalidShape;
  if (!(rule.top <= 127))
    return Status::kUnsupported;
  if (rows.m == 0)
    return Status::kOk;
  quantize_kernel<<<static_cast<unsigned>(rows.m), QuantizeRow<X>::kThreads, 0, stream>>>(
      rows, x, rule, out);
  return cuda::launched();
}

}  // namespace

Status quantize_rows_cuda(const QuantizedRows& rows,
                          const float* x,
                          const RowRule& rule,
                          const QuantizedBuffers& out,
                          CUstream_st* stream) {
  return launch_quantize(rows, x, rule, out, stream);
}

Status quantize_rows_cuda(const QuantizedRows& rows,
                          const Bf16* x,
                          const RowRule& rule,
                          const QuantizedBuffers& out,
                          CUstream_st* stream) {
  return launch_quantize(rows, x, rule, out, stream);
}

}  // namespace sterna::kernels
