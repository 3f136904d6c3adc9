#pragma once

#include <cstdint>

#include "kernels/cpu.h"

namespace sterna::kernels {

/// Query heads of one new token that read the same key head.
struct AttendShape {
  int64_t heads = 0;
  int64_t slots = 0;  ///< keys, the token's own among them; at least one
  int64_t width = 0;  ///< of a head
  float scale = 1;    ///< of the scores
};

/// Floats of scratch that attend() wants.
inline int64_t attend_scratch(const AttendShape& shape) {
  return shape.heads * shape.slots;
}

/// out = softmax(scale q k^T) v, all in float, rounded once: what generation computes for each new
/// token. T is float or Bf16.
/// @param q       [heads, width]
/// @param keys    [slots, width]
/// @param values  [slots, width]
/// @param out     [heads, width]
template <class T>
void attend(const AttendShape& shape,
            const T* q,
            const T* keys,
            const T* values,
            float* scratch,
            T* out,
            CpuLevel level = cpu_level());

}  // namespace sterna::kernels
