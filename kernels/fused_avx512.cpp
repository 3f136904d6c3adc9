// The AVX-512 variants of every fused operation, out of the bodies that AVX2 shares.
#include "kernels/activation_body.h"
#include "kernels/attend_body.h"
#include "kernels/logit_loss_body.h"
#include "kernels/norm_body.h"
#include "kernels/simd_avx512.h"

namespace sterna::kernels::avx512 {
#include "kernels/fused_variant.inc"
}  // namespace sterna::kernels::avx512
