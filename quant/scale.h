#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <ATen/ATen.h>

#include "recipes/recipe.h"

namespace sterna::quant {

/// What `scale_dtype` and `init` of a recipe may say.
inline const recipes::OneOf kScaleDtypes{"bf16", "fp16", "fp32"};
inline const recipes::OneOf kInits{"absmax", "mean", "gaussian", "mse", "clip_search"};

/// The field `group`, as every quantizer has it.
template <class Visitor>
void visit_group(Visitor& v, int64_t& group) {
  v("group",
    group,
    "inputs per scale; 0 = row, -1 = whole matrix",
    recipes::Range<int64_t>{-1, 1 << 20});
}

/// How a grid is first laid over the weights (or, where nothing is learned, at every step). What a
/// quantizer does not list does not fit it.
enum class Init {
  kAbsmax,      ///< the grid reaches the largest weight
  kMean,        ///< step = 2 mean|w| / sqrt(largest integer of the grid), as in LSQ
  kGaussian,    ///< the step of least squared error for a Gaussian of the same mean |w|
  kMse,         ///< the step of least squared error on these weights, by a fine search
  kClipSearch,  ///< likewise among ranges shrunk by 0, 5, ..., 45 %, both ends apart (BitDistiller)
};
constexpr const char* kInitHelp =
    "range: largest weight; 2 mean|w| / sqrt(top) (LSQ); best for a Gaussian of that mean |w|; "
    "least squared error; the same among ranges shrunk by 0 to 45 % (BitDistiller)";

/// The field `init` of quantizers that every rule fits.
template <class Visitor>
void visit_init(Visitor& v, std::string& init) {
  v("init", init, kInitHelp, kInits);
}

/// True for the rules that look at every weight: done once, by init().
constexpr bool searches(Init init) {
  return init == Init::kMse || init == Init::kClipSearch;
}

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

/// Step, in units of mean |w|, of the rules kMean and kGaussian on a grid of `levels` levels.
float mean_step(Init init, int64_t levels);

/// Shrunken ranges that BitDistiller's search tries: 1, 0.95, ..., 0.55.
constexpr int kClips = 10;
constexpr float clip_fraction(int i) {
  return 1.0f - 0.05f * static_cast<float>(i);
}

/// Ranges that the MSE search tries, as fractions of the full one: 7 % apart, then 1.7 % around
/// the best.
constexpr int kCoarse = 40;
constexpr int kFine = 3;

/// The fraction of least error(fraction), the larger one of equals; deterministic.
/// @param init     kMse or kClipSearch
/// @param largest  first fraction tried
template <class Error>
float search_fraction(Init init, float largest, const Error& error) {
  float best = largest;
  double least = error(largest);
  const auto consider = [&](float fraction) {
    const double found = error(fraction);
    if (found < least) {
      least = found;
      best = fraction;
    }
  };
  if (init == Init::kClipSearch) {
    for (int i = 1; i < kClips; ++i)
      consider(largest * clip_fraction(i));
    return best;
  }
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
