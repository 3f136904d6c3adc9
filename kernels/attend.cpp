// Attention of one token: a library's kernel for whole texts spends more on setting up than on
// computing here.
#include "kernels/attend.h"

#include "kernels/fused_variants.h"

namespace sterna::kernels {

template <class T>
void attend(const AttendShape& shape,
            const T* q,
            const T* keys,
            const T* values,
            float* scratch,
            T* out,
            CpuLevel level) {
  // A head of eight values would be all remainder to vectors of sixteen.
  const bool wide = level >= CpuLevel::kAvx512 && shape.width % 16 == 0;
  wide ? avx512::attend(shape, q, keys, values, scratch, out)
       : avx2::attend(shape, q, keys, values, scratch, out);
}

template void attend(
    const AttendShape&, const float*, const float*, const float*, float*, float*, CpuLevel);
template void attend(
    const AttendShape&, const Bf16*, const Bf16*, const Bf16*, float*, Bf16*, CpuLevel);

}  // namespace sterna::kernels
