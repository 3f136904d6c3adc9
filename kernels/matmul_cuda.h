// The launches behind matmul_a8_cuda and matmul_a16_cuda; what they are given has been checked.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/matmul.h"

namespace sterna::kernels::cuda {

constexpr int64_t kMostStreamTokens = 16;  ///< that one pass over the codes serves

Status stream_a8(const GpuMatrix& w, const QuantizedRows& x, float* y, cudaStream_t stream);
Status gemm_a8(const GpuMatrix& w, const QuantizedRows& x, float* y, cudaStream_t stream);
Status stream_a16(const GpuMatrix& w, int64_t m, const Bf16* x, float* y, cudaStream_t stream);

/// For K that is a multiple of 8 and whole formats.
Status gemm_a16(const GpuMatrix& w, int64_t m, const Bf16* x, float* y, cudaStream_t stream);

inline Status launched() {
  return cudaGetLastError() == cudaSuccess ? Status::kOk : Status::kDeviceFailure;
}

inline unsigned blocks(int64_t size, int64_t of) {
  return static_cast<unsigned>((size + of - 1) / of);
}

/// A format as a template argument.
template <CodeFormat F>
struct FormatOf {
  static constexpr CodeFormat value = F;
};

/// Calls launch(FormatOf<F>()) for whole formats.
template <class Launch>
void with_whole_format(CodeFormat format, const Launch& launch) {
  switch (format) {
    case CodeFormat::kTwoBit:
      return launch(FormatOf<CodeFormat::kTwoBit>());
    case CodeFormat::kDint:
      return launch(FormatOf<CodeFormat::kDint>());
    case CodeFormat::kEightBit:
      return launch(FormatOf<CodeFormat::kEightBit>());
    default:
      return launch(FormatOf<CodeFormat::kFourBit>());
  }
}

}  // namespace sterna::kernels::cuda
