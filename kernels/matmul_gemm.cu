// Many tokens times packed weights, bytes and bf16.
#include "kernels/gpu_device.h"
#include "kernels/gpu_gemm_body.h"
#include "kernels/matmul_cuda.h"

namespace sterna::kernels {
namespace {

template <CodeFormat F, class By>
__global__ void __launch_bounds__(Gemm<F, By>::kThreads)
    gemm_kernel(const GpuMatrix w, const GemmRows x, float* y) {
  __shared__ typename Gemm<F, By>::Shared shared;
  Gemm<F, By>(w, x, shared).run(y);
}

template <class By>
Status launch_gemm(const GpuMatrix& w, const GemmRows& x, float* y, cudaStream_t stream) {
  cuda::with_whole_format(w.format, [&](auto format) {
    using Kernel = Gemm<decltype(format)::value, By>;
    const dim3 grid(cuda::blocks(w.n, Kernel::kOutputs), cuda::blocks(x.m, Kernel::kTokens));
    gemm_kernel<decltype(format)::value, By><<<grid, Kernel::kThreads, 0, stream>>>(w, x, y);
  });
  return cuda::launched();
}

}  // namespace

Status cuda::gemm_a8(const GpuMatrix& w, const QuantizedRows& x, float* y, cudaStream_t stream) {
  const auto* rows = reinterpret_cast<const uint8_t*>(x.codes);
  return launch_gemm<ByBytes>(w, {rows, x.m, activation_bytes(x.k), x.scales, x.sums}, y, stream);
}

Status cuda::gemm_a16(const GpuMatrix& w, int64_t m, const Bf16* x, float* y, cudaStream_t stream) {
  const auto* rows = reinterpret_cast<const uint8_t*>(x);
  return launch_gemm<ByBf16>(w, {rows, m, w.k * 2, nullptr, nullptr}, y, stream);
}

}  // namespace sterna::kernels
