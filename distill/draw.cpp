#include "distill/draw.h"

namespace sterna::distill {
namespace {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

double draw(int64_t seed, int64_t step, int64_t sample, int64_t site) {
  uint64_t state = 0;
  for (const int64_t each : {seed, step, sample, site})
    state = mix(state ^ static_cast<uint64_t>(each));
  return static_cast<double>(state >> 11) * 0x1p-53;
}

}  // namespace sterna::distill
