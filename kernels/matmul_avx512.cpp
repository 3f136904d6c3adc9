// The packed products in AVX-512, out of the bodies that all variants share.
#include "kernels/code_simd_avx512.h"
#include "kernels/gemm_float_body.h"
#include "kernels/gemv_body.h"
#include "kernels/matmul_variants.h"

namespace sterna::kernels::avx512 {
#include "kernels/matmul_variant.inc"
}  // namespace sterna::kernels::avx512
