// The packed products in plain loops, out of the bodies that all variants share.
#include "kernels/code_simd_portable.h"
#include "kernels/gemm_float_body.h"
#include "kernels/gemv_body.h"
#include "kernels/matmul_variants.h"

namespace sterna::kernels::portable {
#include "kernels/matmul_variant.inc"
}  // namespace sterna::kernels::portable
