#pragma once

#include <ATen/ATen.h>

namespace sterna::tests {

/// ||a - b|| / ||b||, in double.
inline double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

}  // namespace sterna::tests
