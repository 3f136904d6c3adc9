// silu(gate) * up in one pass each way: separate operations write and read their results between.
#include "kernels/activation.h"

#include "kernels/fused_variants.h"

namespace sterna::kernels {

void exponential(const float* x, float* y, int64_t size, CpuLevel level) {
  level >= CpuLevel::kAvx512 ? avx512::exponential(x, y, size) : avx2::exponential(x, y, size);
}

template <class T>
void silu_mul(const T* gate, const T* up, T* y, int64_t size, CpuLevel level) {
  level >= CpuLevel::kAvx512 ? avx512::silu_mul(gate, up, y, size)
                             : avx2::silu_mul(gate, up, y, size);
}

template <class T>
void silu_mul_backward(const SiluMulGrad<T>& tensors, int64_t size, CpuLevel level) {
  level >= CpuLevel::kAvx512 ? avx512::silu_mul_backward(tensors, size)
                             : avx2::silu_mul_backward(tensors, size);
}

template void silu_mul(const float*, const float*, float*, int64_t, CpuLevel);
template void silu_mul(const Bf16*, const Bf16*, Bf16*, int64_t, CpuLevel);
template void silu_mul_backward(const SiluMulGrad<float>&, int64_t, CpuLevel);
template void silu_mul_backward(const SiluMulGrad<Bf16>&, int64_t, CpuLevel);

}  // namespace sterna::kernels
