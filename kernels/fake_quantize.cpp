#include "kernels/fake_quantize.h"

#include "kernels/lanes.h"

namespace sterna::kernels {

void fake_quantize(const float* x, int64_t n, const ActGrid& grid, float* y) {
  const ActGrid by = grid;
  for_eights(
      n, [&](int64_t i, int64_t count, int) __attribute__((always_inline)) {
        const Float8 v = (load(x + i, count) - by.origin) * by.inverse;
        // lanes.h's clamp would make a level of NaN: comparisons with it are false.
        const Float8 above = pick(v < by.lo, all(by.lo), v);
        const Float8 code = round_even(pick(above > by.hi, all(by.hi), above));
        store(y + i, count, code * by.step + by.origin);
      });
}

}  // namespace sterna::kernels
