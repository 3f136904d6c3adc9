#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "kernels/codes.h"
#include "quant/groups.h"
#include "quant/scale.h"

namespace sterna::quant {

/// What grids are laid over; merges over rows.
struct Moments {
  float min = 0;
  float max = 0;
  double sum_abs = 0;
  int64_t count = 0;

  void merge(const Moments& other);
  float abs_max() const { return std::max(-min, max); }
  float mean_abs() const;
};

Moments moments(const float* w, int64_t n);

/// value = (q + shift) * scale, q = lo .. hi: what absmean, balanced2, llm_qat, lsq and pact round
/// to.
struct UniformLevels {
  int64_t bits = 2;  ///< stored bits of a code
  float lo = -1;
  float hi = 1;
  float shift = 0;
  bool sign = false;  ///< codes follow the sign of w alone

  int64_t count() const { return static_cast<int64_t>(hi - lo) + 1; }
  float top() const { return hi + shift; }

  /// -n .. n, n = 2^(bits-1) - 1; three levels at 2 bits.
  static UniformLevels symmetric(int64_t bits);
  /// 2^bits levels around zero, which is none of them.
  static UniformLevels balanced(int64_t bits);
  /// -1/2 and 1/2, weights of 0 among the latter; with `zero` -1, 0 and 1, in two bits.
  static UniformLevels signs(bool zero);
};

/// Encodes on such levels, with a scale from a statistic or one that was learned.
class UniformCodes {
 public:
  /// @param method  name of the quantizer, for messages; must outlive this
  UniformCodes(std::string_view method,
               int64_t group,
               at::ScalarType scale_dtype,
               const UniformLevels& levels)
      : method_(method), group_(group), dtype_(scale_dtype), levels_(levels) {}

  const UniformLevels& levels() const { return levels_; }
  Groups groups(const Tensor& w) const { return {method_, w, group_}; }
  int64_t group(int64_t k) const { return inputs_per_scale(group_, k); }

  /// The grid of an unrounded scale.
  kernels::UniformGrid grid(float scale) const {
    return {round_scale(scale, dtype_), levels_.lo, levels_.hi, levels_.shift};
  }

  /// @param scale_of  unrounded scale of what shares it
  Encoded encode_measured(const Tensor& w,
                          const std::function<float(const Moments&)>& scale_of) const;

  /// @param scale_at  unrounded scale of that element of [N, G]
  Encoded encode_learned(const Tensor& w, const std::function<float(int64_t)>& scale_at) const;

  /// First scales [N, G], unrounded, by the rule.
  Tensor first_scales(const Tensor& w, Init init) const;

  /// @throws c10::Error  where `learned` is not of the shape that w asks for
  void check_ready(const Tensor& learned, const Tensor& w) const;

 private:
  Encoded empty(const Groups& groups) const;
  void write(const float* w, int64_t n, float scale, int8_t* codes) const;
  template <class Error>
  float first_scale(Init init, const Moments& m, const Error& error) const;

  std::string_view method_;
  int64_t group_;
  at::ScalarType dtype_;
  UniformLevels levels_;
};

}  // namespace sterna::quant
