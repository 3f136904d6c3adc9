#include "quant/scale.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace sterna::quant {

Init parse_init(const std::string& text) {
  if (text == "mean")
    return Init::kMean;
  if (text == "gaussian")
    return Init::kGaussian;
  if (text == "clip_search")
    return Init::kClipSearch;
  return text == "mse" ? Init::kMse : Init::kAbsmax;
}

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "bf16")
    return at::kBFloat16;
  if (name == "fp16")
    return at::kHalf;
  if (name == "fp32")
    return at::kFloat;
  throw recipes::UserError("dtype '" + name + "': expected bf16, fp16 or fp32");
}

float round_scale(float scale, at::ScalarType dtype) {
  constexpr float kSmallest = 0x1p-14f;  // of fp16's normal numbers
  if (dtype == at::kFloat)
    return std::max(scale, std::numeric_limits<float>::min());
  if (dtype == at::kHalf)
    return static_cast<float>(static_cast<at::Half>(std::clamp(scale, kSmallest, 65504.0f)));
  // 65280 is the largest bf16 number that fp16 holds.
  return static_cast<float>(static_cast<at::BFloat16>(std::clamp(scale, kSmallest, 65280.0f)));
}

float gaussian_step(int64_t levels) {
  static constexpr std::pair<int64_t, float> kSteps[] = {{3, 1.53408f},
                                                         {4, 1.2479f},
                                                         {7, 0.81562f},
                                                         {8, 0.73447f},
                                                         {15, 0.44294f},
                                                         {16, 0.4201f},
                                                         {31, 0.2422f},
                                                         {32, 0.2358f},
                                                         {63, 0.13221f},
                                                         {64, 0.13042f},
                                                         {127, 0.07105f},
                                                         {128, 0.0705f},
                                                         {255, 0.03539f},
                                                         {256, 0.03525f}};
  for (const auto& [count, step] : kSteps)
    if (count == levels)
      return step;
  TORCH_CHECK(false, "gaussian_step: no entry for ", levels, " levels");
}

float mean_step(Init init, int64_t levels) {
  if (init == Init::kGaussian)
    return gaussian_step(levels);
  const int64_t top = std::max<int64_t>((levels - 1) / 2, 1);
  return 2 / std::sqrt(static_cast<float>(top));
}

}  // namespace sterna::quant
