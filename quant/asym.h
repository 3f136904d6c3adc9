#pragma once

#include <cstdint>
#include <limits>
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
    visit_init(v, init);
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

/// (code - zero) * scale, 0 <= code <= 2^bits - 1.
struct AsymGrid {
  float scale = 1;
  float zero = 0;
};

/// Gradients of the ends of a range.
struct EndGradients {
  float min = 0;
  float max = 0;
};

/// What flows to the ends of a range that a scale was taken from; merges over rows.
struct RangeFlow {
  double scale = 0;  ///< gradient of the scale
  float min = 0;
  float max = 0;
  int64_t at_min = 0;  ///< weights that share the minimum, and its gradient
  int64_t at_max = 0;

  void merge(const RangeFlow& other);
};

/// How a grid rounds.
struct AsymRounding {
  bool float_zero = false;  ///< zero points are any number: codes are rounded after it is added
  bool half_away = false;   ///< ties away from zero instead of to even
};

/// Unsigned codes of `bits` bits with a zero point: what minmax_asym, affine_learned and lwc have
/// in common.
class AsymCodes {
 public:
  AsymCodes(int64_t bits, at::ScalarType scale_dtype, const AsymRounding& rounding = {});

  float top() const { return top_; }  ///< largest code
  at::ScalarType scale_dtype() const { return scale_dtype_; }

  AsymExtent extent(const float* w, int64_t n) const;

  /// The step of kMean or kGaussian, the mean in the middle of the grid.
  AsymGrid mean_grid(Init init, const AsymExtent& full, int64_t weights) const;

  struct Searched {
    float fraction = 1;
    float zero = 0;
  };
  /// Range and zero point of least error(grid), scale = fraction * full_scale. kMse shrinks the
  /// range about its centre and tries both neighbouring zero points; kClipSearch shrinks either
  /// end by itself.
  template <class Error>
  Searched search(Init init, const AsymExtent& full, float full_scale, const Error& error) const {
    if (init == Init::kClipSearch)
      return search_ends(full, full_scale, error);
    const auto best_of = [&](float fraction) {
      const float scale = round_scale(fraction * full_scale, scale_dtype_);
      const Zeros zeros = zeros_about((full.min + full.max) / 2, scale);
      const double below = error(grid(scale, zeros.below));
      const double above =
          zeros.above == zeros.below ? below : static_cast<double>(error(grid(scale, zeros.above)));
      return Best{std::min(below, above), below <= above ? zeros.below : zeros.above};
    };
    const float fraction =
        search_fraction(init, 1.0f, [&](float tried) { return best_of(tried).error; });
    return {fraction, best_of(fraction).zero};
  }

  /// Integer zero point of a range that begins at `min`.
  float zero_of(float min, float scale) const;

  /// What weights are rounded to: the signed integers q - zero, or q itself where zero is a float.
  kernels::UniformGrid grid(float scale, float zero) const {
    return rounding_.float_zero
               ? kernels::UniformGrid{scale, 0, top_, -zero, rounding_.half_away}
               : kernels::UniformGrid{scale, -zero, top_ - zero, 0, rounding_.half_away};
  }

  /// Least and largest weight and how many share each.
  static RangeFlow ends_of(const float* w, int64_t n);

  /// dw of the grid, and what flows to its scale.
  RangeFlow flow(const float* w, const float* g, int64_t n, const AsymGrid& by, float* dw) const;

  /// Adds those gradients of a range's ends to the weights that are its ends, in equal shares.
  static void add_to_ends(
      const float* w, int64_t n, const RangeFlow& ends, EndGradients d, float* dw);

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
  /// What set() left.
  AsymGrid grid_in_use(const Target& used, int64_t at) const {
    return {used.scales[at], used.zeros[at] + stored_less_};
  }
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

  template <class Error>
  Searched search_ends(const AsymExtent& full, float full_scale, const Error& error) const {
    Searched best;
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kClips * kClips; ++i) {
      const float min = full.min * clip_fraction(i % kClips);
      const float max = full.max * clip_fraction(i / kClips);
      const float fraction = full.max > full.min ? (max - min) / (full.max - full.min) : 1.0f;
      const float scale = round_scale(fraction * full_scale, scale_dtype_);
      const float zero = zero_of(min, scale);
      const double found = error(grid(scale, zero));
      if (found < least) {
        least = found;
        best = {fraction, zero};
      }
    }
    return best;
  }

  int64_t bits_;
  at::ScalarType scale_dtype_;
  AsymRounding rounding_;
  float top_;
  float stored_less_;
};

}  // namespace sterna::quant
