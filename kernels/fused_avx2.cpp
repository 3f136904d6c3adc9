// The AVX2 variants of every fused operation, out of the bodies that AVX-512 shares.
#include "kernels/activation_body.h"
#include "kernels/attend_body.h"
#include "kernels/logit_loss_body.h"
#include "kernels/norm_body.h"
#include "kernels/simd_avx2.h"

namespace sterna::kernels::avx2 {
#include "kernels/fused_variant.inc"
}  // namespace sterna::kernels::avx2
