#include "quant/asym.h"

#include <algorithm>
#include <cmath>

#include "kernels/row_reduce.h"

namespace sterna::quant {

void AsymExtent::merge(const AsymExtent& other) {
  if (!other.any)
    return;
  min = any ? std::min(min, other.min) : other.min;
  max = any ? std::max(max, other.max) : other.max;
  sum += other.sum;
  sum_abs += other.sum_abs;
  any = true;
}

void RangeFlow::merge(const RangeFlow& other) {
  scale += other.scale;
  at_min = other.min < min ? other.at_min : at_min + (other.min == min ? other.at_min : 0);
  at_max = other.max > max ? other.at_max : at_max + (other.max == max ? other.at_max : 0);
  min = std::min(min, other.min);
  max = std::max(max, other.max);
}

AsymCodes::AsymCodes(int64_t bits, at::ScalarType scale_dtype, const AsymRounding& rounding)
    : bits_(bits),
      scale_dtype_(scale_dtype),
      rounding_(rounding),
      top_(static_cast<float>((int64_t{1} << bits) - 1)),
      stored_less_(bits == 8 ? 128.0f : 0.0f) {}

AsymExtent AsymCodes::extent(const float* w, int64_t n) const {
  const kernels::MinMax ends = kernels::min_max(w, n);
  return {ends.min, ends.max, 0, 0, n > 0};
}

AsymGrid AsymCodes::mean_grid(Init init, const AsymExtent& full, int64_t weights) const {
  const double count = static_cast<double>(std::max<int64_t>(weights, 1));
  const float step =
      mean_step(init, int64_t{1} << bits_) * static_cast<float>(full.sum_abs / count);
  const float scale = round_scale(step, scale_dtype_);
  const float middle = top_ / 2 - static_cast<float>(full.sum / count) / scale;
  return {scale, std::clamp(std::rint(middle), 0.0f, top_)};
}

AsymCodes::Zeros AsymCodes::zeros_about(float centre, float scale) const {
  const float middle = top_ / 2 - centre / scale;
  return {std::clamp(std::floor(middle), 0.0f, top_), std::clamp(std::ceil(middle), 0.0f, top_)};
}

float AsymCodes::zero_of(float min, float scale) const {
  return std::clamp(-std::rint(min / scale), 0.0f, top_);
}

RangeFlow AsymCodes::ends_of(const float* w, int64_t n) {
  const kernels::MinMax ends = kernels::min_max(w, n);
  RangeFlow flow{0, ends.min, ends.max, 0, 0};
  for (int64_t i = 0; i < n; ++i) {
    flow.at_min += w[i] == ends.min ? 1 : 0;
    flow.at_max += w[i] == ends.max ? 1 : 0;
  }
  return flow;
}

RangeFlow AsymCodes::flow(
    const float* w, const float* g, int64_t n, const AsymGrid& by, float* dw) const {
  RangeFlow flow = ends_of(w, n);
  flow.scale = kernels::uniform_gradient(w, g, n, grid(by.scale, by.zero), dw).scale;
  return flow;
}

void AsymCodes::add_to_ends(
    const float* w, int64_t n, const RangeFlow& ends, EndGradients d, float* dw) {
  const float min = d.min / static_cast<float>(std::max<int64_t>(ends.at_min, 1));
  const float max = d.max / static_cast<float>(std::max<int64_t>(ends.at_max, 1));
  for (int64_t i = 0; i < n; ++i) {
    if (w[i] == ends.min)
      dw[i] += min;
    if (w[i] == ends.max)
      dw[i] += max;
  }
}

Encoded AsymCodes::encoded(const Groups& groups) const {
  Encoded e = groups.encoded(bits_, -static_cast<int64_t>(stored_less_), scale_dtype_);
  e.zeros = at::zeros_like(e.scales);
  return e;
}

AsymCodes::Target AsymCodes::target(Encoded& e) {
  return {e.scales.mutable_data_ptr<float>(),
          e.zeros.mutable_data_ptr<float>(),
          e.codes.mutable_data_ptr<int8_t>()};
}

void AsymCodes::set(const Target& to, int64_t at, const AsymGrid& by) const {
  to.scales[at] = by.scale;
  to.zeros[at] = by.zero - stored_less_;
}

void AsymCodes::write(const Target& to, const float* w, const Run& run, int64_t n) const {
  const float stored = to.zeros[run.scale];
  const float add = rounding_.float_zero ? -stored_less_ : stored;
  kernels::uniform_codes(w + run.at,
                         n,
                         grid(to.scales[run.scale], stored + stored_less_),
                         static_cast<int32_t>(add),
                         to.codes + run.at);
}

}  // namespace sterna::quant
