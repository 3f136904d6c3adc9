#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "tests/quant/quantizer_support.h"

namespace sterna::quant {

/// Where the scales lie and what they are rounded to, in tests of backward() against twins.
struct Setting {
  int64_t group;
  const char* dtype;

  std::string fields() const {
    return std::string("scale_dtype = \"") + dtype + "\", group = " + std::to_string(group);
  }
  at::ScalarType type() const {
    return std::string(dtype) == "fp32"   ? at::kFloat
           : std::string(dtype) == "bf16" ? at::kBFloat16
                                          : at::kHalf;
  }
};

inline std::vector<Setting> settings(std::initializer_list<const char*> dtypes) {
  std::vector<Setting> result;
  for (const int64_t group : {0, -1, 16, 32})
    for (const char* dtype : dtypes)
      result.push_back({group, dtype});
  return result;
}

/// [6, 96] with an all-zero row.
inline Tensor weight() {
  Tensor w = heavy({6, 96}, 3);
  w[2].zero_();
  return w;
}

/// One scale a row, whatever the group: [S, n].
inline Tensor by_scale(const Tensor& w, int64_t group) {
  return group < 0 ? w.reshape({1, -1}) : w.reshape({-1, group == 0 ? w.size(1) : group});
}

/// A leaf in fp64: in fp32 the twin's own sums would be the larger error.
inline Tensor exact(const Tensor& t) {
  return t.to(at::kDouble).requires_grad_();
}

}  // namespace sterna::quant
