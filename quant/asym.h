#pragma once

#include <cstdint>
#include <string>

#include "kernels/codes.h"
#include "quant/groups.h"
#include "quant/scale.h"

namespace sterna::quant {

/// The settings that minmax_asym and affine_learned have in common: all of them but the default of
/// `bits`. `init` is where affine_learned starts from and what minmax_asym keeps.
struct AsymConfig {
  int64_t bits;
  int64_t group = 64;
  std::string init = "absmax";
  std::string scale_dtype = "bf16";

  template <class Visitor>
  void fields(Visitor& v) {
    v("bits", bits, "bits of a code", recipes::Range<int64_t>{2, 8});
    visit_group(v, group);
    v("init", init, "range: least to largest, mean |w|, or search for least error", kInits);
    v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
  }
};

/// What an unsigned grid with a zero point is fitted to; merges over rows.
struct AsymExtent {
  float min = 0;
  float max = 0;
  double sum = 0;
  double sum_abs = 0;
  bool any = false;

  void merge(const AsymExtent& other);
};

/// (code - zero) * scale, 0 <= code <= 2^bits - 1, zero an integer.
struct AsymGrid {
  float scale = 1;
  float zero = 0;
};

/// Unsigned codes of `bits` bits with an integer zero point: what minmax_asym and affine_learned
/// have in common.
class AsymCodes {
 public:
  AsymCodes(int64_t bits, at::ScalarType scale_dtype);

  float top() const { return top_; }  ///< largest code
  at::ScalarType scale_dtype() const { return scale_dtype_; }

  AsymExtent extent(const float* w, int64_t n) const;

  /// Gaussian step of mean |w|, the mean in the middle of the grid.
  AsymGrid mean_grid(const AsymExtent& full, int64_t weights) const;

  struct Searched {
    float fraction = 1;
    float zero = 0;
  };
  /// Range and zero point of least error(grid): shrinks the range about its centre and tries both
  /// neighbouring zero points. scale = fraction * full_scale.
  template <class Error>
  Searched search(const AsymExtent& full, float full_scale, const Error& error) const {
    const auto best_of = [&](float fraction) {
      const float scale = round_scale(fraction * full_scale, scale_dtype_);
      const Zeros zeros = zeros_about((full.min + full.max) / 2, scale);
      const double below = error(grid(scale, zeros.below));
      const double above =
          zeros.above == zeros.below ? below : static_cast<double>(error(grid(scale, zeros.above)));
      return Best{std::min(below, above), below <= above ? zeros.below : zeros.above};
    };
    const float fraction = search_fraction(1.0f, [&](float tried) { return best_of(tried).error; });
    return {fraction, best_of(fraction).zero};
  }

  /// The signed integers q - zero that weights are rounded to.
  kernels::UniformGrid grid(float scale, float zero) const { return {scale, -zero, top_ - zero}; }

  /// Empty Encoded with zeros. Codes of 8 bits are stored less 128, so that they fit int8.
  Encoded encoded(const Groups& groups) const;

  /// Where encode writes; fetched once, because asking a tensor for its data costs as much as
  /// rounding a group.
  struct Target {
    float* scales;
    float* zeros;
    int8_t* codes;
  };
  static Target target(Encoded& e);

  void set(const Target& to, int64_t at, const AsymGrid& by) const;
  /// Codes of the run of n weights at `w`, on the grid that set() left.
  void write(const Target& to, const float* w, const Run& run, int64_t n) const;

 private:
  struct Zeros {
    float below = 0;
    float above = 0;
  };
  struct Best {
    double error = 0;
    float zero = 0;
  };
  Zeros zeros_about(float centre, float scale) const;

  int64_t bits_;
  at::ScalarType scale_dtype_;
  float top_;
  float stored_less_;
};

}  // namespace sterna::quant
