#include "quant/learned_step.h"

#include <cmath>

namespace sterna::quant {
namespace {

constexpr float kFloor = 1e-5f;

struct Flow {
  double scale = 0;
  void merge(const Flow& other) { scale += other.scale; }
};

}  // namespace

LearnedStep::LearnedStep(const Settings& settings)
    : init_(parse_init(settings.init)),
      codes_(settings.method, settings.group, parse_dtype(settings.scale_dtype), settings.levels) {}

void LearnedStep::allocate(const Tensor& w) {
  scale_ = at::ones(codes_.groups(w).scales_shape());
}

void LearnedStep::init(const Tensor& w) {
  scale_ = codes_.first_scales(w, init_).div_(per_scale());
}

float LearnedStep::step(float scale) const {
  return std::max(scale, kFloor) * per_scale();
}

Encoded LearnedStep::encode(const Tensor& w) const {
  codes_.check_ready(scale_, w);
  const float* scale = scale_.const_data_ptr<float>();
  return codes_.encode_learned(w, [&](int64_t at) { return step(scale[at]); });
}

Gradients LearnedStep::backward(const Tensor& w, const Tensor& gwq) const {
  codes_.check_ready(scale_, w);
  const Groups groups = codes_.groups(w);
  Gradients result{at::empty_like(w), {at::zeros_like(scale_)}};
  const float* x = w.const_data_ptr<float>();
  const float* g = gwq.const_data_ptr<float>();
  const float* scale = scale_.const_data_ptr<float>();
  auto* dw = result.w.mutable_data_ptr<float>();
  auto* ds = result.params[0].mutable_data_ptr<float>();
  const int64_t n = groups.length();
  const auto numel = static_cast<double>(std::max<int64_t>(w.numel(), 1));
  const double damp = 1 / std::sqrt(numel * std::max(codes_.levels().hi, 1.0f));
  const auto measure = [&](const Run& run) {
    const kernels::UniformGrid by = codes_.grid(step(scale[run.scale]));
    if (!codes_.levels().sign)
      return Flow{kernels::clamped_gradient(x + run.at, g + run.at, n, by, dw + run.at)};
    const float of_zero = max_levels() == 3 ? 0.0f : 1.0f;
    return Flow{kernels::sign_gradient(
        x + run.at, g + run.at, n, by.scale / per_scale(), of_zero, dw + run.at)};
  };
  groups.by_scale(
      measure,
      [&](const Flow& flow, int64_t at) { ds[at] = static_cast<float>(flow.scale * damp); },
      [](const Run&) {});
  return result;
}

}  // namespace sterna::quant
