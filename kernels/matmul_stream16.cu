// Few tokens' bf16 activations times packed weights.
#include "kernels/gpu_device.h"
#include "kernels/gpu_stream16_body.h"
#include "kernels/matmul_cuda.h"

namespace sterna::kernels {
namespace {

template <CodeFormat F, int kTokens>
__global__ void __launch_bounds__(StreamA16<F, kTokens>::kThreads)
    stream16_kernel(const GpuMatrix w, const BrainRows x, float* y) {
  __shared__ typename StreamA16<F, kTokens>::Shared shared;
  StreamA16<F, kTokens>(w, x, shared).run(y);
}

template <CodeFormat F, int kTokens>
void launch16(const GpuMatrix& w, const BrainRows& x, float* y, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(w.tiles()), cuda::blocks(x.m, kTokens));
  stream16_kernel<F, kTokens><<<grid, StreamA16<F, kTokens>::kThreads, 0, stream>>>(w, x, y);
}

template <CodeFormat F>
void launch16_of(const GpuMatrix& w, const BrainRows& x, float* y, cudaStream_t stream) {
  if (x.m == 1)
    launch16<F, 1>(w, x, y, stream);
  else
    launch16<F, 4>(w, x, y, stream);
}

}  // namespace

Status cuda::stream_a16(
    const GpuMatrix& w, int64_t m, const Bf16* x, float* y, cudaStream_t stream) {
  const BrainRows rows{x, m};
  if (w.format == CodeFormat::kTable)
    launch16_of<CodeFormat::kTable>(w, rows, y, stream);
  else
    with_whole_format(
        w.format, [&](auto format) { launch16_of<decltype(format)::value>(w, rows, y, stream); });
  return launched();
}

}  // namespace sterna::kernels
