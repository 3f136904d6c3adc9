// Values of affine codes on the GPU: bound by memory, so each thread moves one 4-byte word of codes
// (one code where the sizes do not divide by four) and looks its scale up once.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "kernels/dequantize.h"

namespace sterna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxGridRows = 65535;

__device__ float rounded(float value, float) {
  return value;
}
__device__ __nv_bfloat16 rounded(float value, __nv_bfloat16) {
  return __float2bfloat16_rn(value);
}
__device__ __half rounded(float value, __half) {
  return __float2half_rn(value);
}

template <class Type, int kCodes>
struct alignas(sizeof(Type) * kCodes) Word {
  Type values[kCodes];
};

template <class Type, int kCodes>
__global__ void dequantize_rows(DequantizeShape shape, AffineCodes in, Type* out) {
  const int64_t groups = shape.k / shape.group;
  const int64_t k = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCodes;
  if (k >= shape.k)
    return;
  for (int64_t n = blockIdx.y; n < shape.n; n += gridDim.y) {
    const int64_t at = (shape.shared_scales ? 0 : n * groups) + k / shape.group;
    const float scale = in.scales[at];
    const float zero = in.zeros != nullptr ? in.zeros[at] : in.offset;
    const int64_t word = (n * shape.k + k) / kCodes;
    const auto codes = reinterpret_cast<const Word<int8_t, kCodes>*>(in.codes)[word];
    Word<Type, kCodes> result;
#pragma unroll
    for (int i = 0; i < kCodes; ++i) {
      // Named roundings: the compiler may not contract them, so the bits equal the CPU's.
      const float value = __fmul_rn(__fsub_rn(static_cast<float>(codes.values[i]), zero), scale);
      result.values[i] = rounded(value, Type{});
    }
    reinterpret_cast<Word<Type, kCodes>*>(out)[word] = result;
  }
}

template <class Type, int kCodes>
Status launch(const DequantizeShape& shape, const AffineCodes& in, void* out, CUstream_st* stream) {
  const int64_t words = shape.k / kCodes;
  const dim3 grid(static_cast<unsigned>((words + kThreads - 1) / kThreads),
                  static_cast<unsigned>(shape.n < kMaxGridRows ? shape.n : kMaxGridRows));
  dequantize_rows<Type, kCodes><<<grid, kThreads, 0, stream>>>(shape, in, static_cast<Type*>(out));
  return cudaGetLastError() == cudaSuccess ? Status::kOk : Status::kDeviceFailure;
}

template <class Type>
Status launch(const DequantizeShape& shape, const AffineCodes& in, void* out, CUstream_st* stream) {
  return shape.group % 4 == 0 ? launch<Type, 4>(shape, in, out, stream)
                              : launch<Type, 1>(shape, in, out, stream);
}

}  // namespace

Status dequantize_cuda(const DequantizeShape& shape,
                       const AffineCodes& in,
                       FloatType type,
                       void* out,
                       CUstream_st* stream) {
  if (!valid(shape))
    return Status::kInvalidShape;
  if (shape.n == 0 || shape.k == 0)
    return Status::kOk;
  switch (type) {
    case FloatType::kFloat32:
      return launch<float>(shape, in, out, stream);
    case FloatType::kBfloat16:
      return launch<__nv_bfloat16>(shape, in, out, stream);
    case FloatType::kFloat16:
      return launch<__half>(shape, in, out, stream);
  }
  return Status::kInvalidShape;
}

}  // namespace sterna::kernels
