#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <ATen/ATen.h>

#include "recipes/recipe.h"

namespace sterna::quant {

/// What `scale_dtype` and `init` of a recipe may say.
inline const recipes::OneOf kScaleDtypes{"bf16", "fp16", "fp32"};
inline const recipes::OneOf kInits{"absmax", "mean", "mse"};

/// The field `group`, as every quantizer has it.
template <class Visitor>
void visit_group(Visitor& v, int64_t& group) {
  v("group",
    group,
    "inputs per scale; 0 = row, -1 = whole matrix",
    recipes::Range<int64_t>{-1, 1 << 20});
}

enum class Init {
  kAbsmax,  ///< the grid reaches the largest weight
  kMean,    ///< the step that is best for a Gaussian of the same mean |w|
  kMse,     ///< the step of least squared error on a grid of shrunken ranges
};

Init parse_init(const std::string& text);

/// "bf16", "fp16" or "fp32", wherever a recipe or a flag names a dtype.
/// @throws recipes::UserError
at::ScalarType parse_dtype(const std::string& name);

/// The positive `scale` as its declared dtype holds it. Two-byte scales stay within fp16's normal
/// range, so that a bf16 scale is exact in both; zero becomes the smallest scale.
float round_scale(float scale, at::ScalarType dtype);

/// Step, in units of mean |w|, of the uniform quantizer with `levels` levels that has the least
/// squared error on a Gaussian (J. Max 1960); 3, 4, 7, 8, ..., 255, 256 levels.
float gaussian_step(int64_t levels);

/// Ranges that the MSE search tries, as fractions of the full one: 7 % apart, then 1.7 % around
/// the best.
constexpr int kCoarse = 40;
constexpr int kFine = 3;

/// The fraction of least error(fraction), the larger one of equals; deterministic.
/// @param largest  first fraction tried
template <class Error>
float search_fraction(float largest, const Error& error) {
  float best = largest;
  double least = error(largest);
  const auto consider = [&](float fraction) {
    const double found = error(fraction);
    if (found < least) {
      least = found;
      best = fraction;
    }
  };
  float fraction = largest;
  for (int i = 1; i < kCoarse; ++i)
    consider(fraction *= 0.93f);
  const float middle = best;
  float up = middle;
  float down = middle;
  for (int i = 0; i < kFine; ++i) {
    if ((up *= 1.017f) <= largest)
      consider(up);
    consider(down /= 1.017f);
  }
  return best;
}

}  // namespace sterna::quant
