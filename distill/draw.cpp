#include "distill/draw.h"

#include "kernels/mix.h"

namespace sterna::distill {

double draw(int64_t seed, int64_t step, int64_t sample, int64_t site) {
  uint64_t state = 0;
  for (const int64_t each : {seed, step, sample, site})
    state = kernels::mix(state ^ static_cast<uint64_t>(each));
  return static_cast<double>(state >> 11) * 0x1p-53;
}

}  // namespace sterna::distill
