#include "quant/groups.h"

#include <string>

#include "recipes/user_error.h"

namespace sterna::quant {

Groups::Groups(std::string_view method, const Tensor& w, int64_t group) : whole_(group < 0) {
  TORCH_CHECK(w.defined() && w.dim() == 2 && w.scalar_type() == at::kFloat && w.is_contiguous(),
              method,
              ": expected a contiguous fp32 matrix [N, K], got ",
              w.defined() ? c10::str(w.scalar_type(), " ", w.sizes()) : "nothing");
  TORCH_CHECK(w.is_cpu(),
              method,
              ": quantizers run on the CPU, got a tensor on ",
              w.device(),
              "; move the master weight to the CPU");
  n_ = w.size(0);
  k_ = w.size(1);
  length_ = group > 0 ? group : k_;
  if (length_ > 0 && k_ % length_ != 0) {
    throw recipes::UserError(std::string(method) + ": group = " + std::to_string(group) +
                             " does not divide the " + std::to_string(k_) +
                             " inputs of a row; choose a divisor, or 0 for one scale a row");
  }
  per_row_ = k_ > 0 ? k_ / length_ : 0;
}

std::vector<int64_t> Groups::scales_shape() const {
  return whole_ ? std::vector<int64_t>{1, 1} : std::vector<int64_t>{n_, per_row_};
}

Encoded Groups::encoded(int64_t bits, int64_t code_min, at::ScalarType scale_dtype) const {
  Encoded e;
  e.codes = at::empty({n_, k_}, at::kChar);
  // Without a row nothing writes the shared scale.
  e.scales = whole_ ? at::ones({1, 1}) : at::empty(scales_shape());
  e.group = length_ > 0 ? length_ : 1;
  e.bits = bits;
  e.code_min = code_min;
  e.scale_dtype = scale_dtype;
  return e;
}

}  // namespace sterna::quant
