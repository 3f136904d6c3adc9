// Few tokens' bytes times packed weights.
#include "kernels/gpu_device.h"
#include "kernels/gpu_stream_body.h"
#include "kernels/matmul_cuda.h"

namespace sterna::kernels {
namespace {

template <CodeFormat F, int kTokens>
__global__ void __launch_bounds__(StreamA8<F, kTokens>::kThreads)
    stream_kernel(const GpuMatrix w, const QuantizedRows x, float* y) {
  __shared__ typename StreamA8<F, kTokens>::Shared shared;
  StreamA8<F, kTokens>(w, x, shared).run(y);
}

template <CodeFormat F, int kTokens>
void launch(const GpuMatrix& w, const QuantizedRows& x, float* y, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(w.tiles()), cuda::blocks(x.m, kTokens));
  stream_kernel<F, kTokens><<<grid, StreamA8<F, kTokens>::kThreads, 0, stream>>>(w, x, y);
}

}  // namespace

Status cuda::stream_a8(const GpuMatrix& w, const QuantizedRows& x, float* y, cudaStream_t stream) {
  with_whole_format(w.format, [&](auto format) {
    constexpr CodeFormat kFormat = decltype(format)::value;
    if (x.m == 1)
      launch<kFormat, 1>(w, x, y, stream);
    else if (x.m <= kMostDotTokens)
      launch<kFormat, kMostDotTokens>(w, x, y, stream);
    else
      launch<kFormat, kMostStreamTokens>(w, x, y, stream);
  });
  return launched();
}

}  // namespace sterna::kernels
