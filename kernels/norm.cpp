// Root mean square norm (Zhang & Sennrich, arXiv:1910.07467) with Hugging Face's rounding.
#include "kernels/norm.h"

#include "kernels/fused_variants.h"

namespace sterna::kernels {

template <class X, class Y>
void rms_norm(
    const NormShape& shape, const X* x, const float* weight, Y* y, float* rstd, CpuLevel level) {
  level >= CpuLevel::kAvx512 ? avx512::rms_norm(shape, x, weight, y, rstd)
                             : avx2::rms_norm(shape, x, weight, y, rstd);
}

float rms_rstd(const float* x, int64_t width, float eps, CpuLevel level) {
  return level >= CpuLevel::kAvx512 ? avx512::rms_rstd(x, width, eps)
                                    : avx2::rms_rstd(x, width, eps);
}

template <class X, class Y>
void rms_norm_backward(const NormShape& shape, const NormGrad<X, Y>& tensors, CpuLevel level) {
  level >= CpuLevel::kAvx512 ? avx512::rms_norm_backward(shape, tensors)
                             : avx2::rms_norm_backward(shape, tensors);
}

#define STERNA_INSTANTIATE(X, Y)                                                          \
  template void rms_norm(const NormShape&, const X*, const float*, Y*, float*, CpuLevel); \
  template void rms_norm_backward(const NormShape&, const NormGrad<X, Y>&, CpuLevel);
STERNA_INSTANTIATE(float, float)
STERNA_INSTANTIATE(float, Bf16)
STERNA_INSTANTIATE(Bf16, float)
STERNA_INSTANTIATE(Bf16, Bf16)

}  // namespace sterna::kernels
