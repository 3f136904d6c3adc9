// What every variant of a packed product refuses.
#pragma once

#include "kernels/matmul.h"

namespace sterna::kernels {

inline Status check_range(const PackedMatrix& w, int64_t m, const OutputRange& range) {
  const bool ends = range.end % kPanelRows == 0 || range.end == w.n;
  return m >= 0 && range.begin >= 0 && range.begin <= range.end && range.end <= w.n &&
                 range.begin % kPanelRows == 0 && ends
             ? Status::kOk
             : Status::kInvalidShape;
}

inline Status check_a8(const PackedMatrix& w, const QuantizedRows& x, const OutputRange& range) {
  if (x.k != w.k || x.group != w.group || (x.planes != 1 && x.planes != 3))
    return Status::kInvalidShape;
  return w.whole() ? check_range(w, x.m, range) : Status::kUnsupported;
}

}  // namespace sterna::kernels
