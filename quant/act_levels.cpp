// Levels of activations, m = max(-min, max) of the clipped range:
//   symmetric:   s = top / m, value = round(x s) m / top, top = 2^(bits-1) - 1; m >= 1e-5 (BitNet's
//                127 / max(|x|, 1e-5), arXiv:2402.17764)
//   else:        integers over [min(x, 0), max(x, 0)], so that 0 stays 0: n = 2^bits - 1,
//                s = n / (max - min), z = round(-min s), value = clamp(round(x s), -z, n - z) / s
//   official eps (LLM-QAT):        s = top / (m + 1e-6), value = round(x s) / (s + 1e-6)
//   official norm (TernaryBERT):   n levels from min on, which need not hold 0:
//                w = max - min + 1e-8, value = round((x - min) n / w) w / n + min
//   official short_end (I-BERT):   codes end at top - 1
#include "quant/act_levels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/Parallel.h>

#include "kernels/codes.h"

namespace sterna::quant {
namespace {

constexpr float kLeastReach = 1e-5f;
constexpr float kOfficialEps = 1e-6f;
constexpr float kOfficialWidth = 1e-8f;
constexpr int64_t kElementsPerTask = 32768;

template <typename T>
void map_as(const Tensor& x, const Tensor& g, Tensor& y, const TokenBody& body) {
  const int64_t k = x.size(-1);
  const T* from = x.const_data_ptr<T>();
  const T* up = g.defined() ? g.const_data_ptr<T>() : nullptr;
  T* to = y.mutable_data_ptr<T>();
  const int64_t tokens = std::max<int64_t>(kElementsPerTask / k, 1);
  at::parallel_for(0, x.numel() / k, tokens, [&](int64_t begin, int64_t end) {
    if constexpr (std::is_same_v<T, float>) {
      for (int64_t t = begin; t < end; ++t)
        body(from + t * k, up != nullptr ? up + t * k : nullptr, to + t * k);
    } else {
      std::vector<float> buffer(static_cast<size_t>(3 * k));
      float* in = buffer.data();
      float* gradient = up != nullptr ? in + k : nullptr;
      float* out = in + 2 * k;
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t i = 0; i < k; ++i)
          in[i] = static_cast<float>(from[t * k + i]);
        for (int64_t i = 0; up != nullptr && i < k; ++i)
          gradient[i] = static_cast<float>(up[t * k + i]);
        body(in, gradient, out);
        for (int64_t i = 0; i < k; ++i)
          to[t * k + i] = static_cast<T>(out[i]);
      }
    }
  });
}

}  // namespace

ActLevels::ActLevels(const ActLevelsConfig& config, const ActOfficial& official)
    : config_(config),
      official_(official),
      clip_(config.clip_val > 0 ? static_cast<float>(config.clip_val)
                                : std::numeric_limits<float>::infinity()) {
  if (config.symmetric && official.norm)
    throw recipes::UserError("official_norm is a form of levels over the range: symmetric = false");
  if (!config.symmetric && (official.eps || official.short_end))
    throw recipes::UserError(std::string(official.eps ? "official_eps" : "official_clamp") +
                             " is a form of symmetric levels: symmetric = true");
}

kernels::ActGrid ActLevels::symmetric(float reach) const {
  const auto top = static_cast<float>((int64_t{1} << (config_.bits - 1)) - 1);
  kernels::ActGrid grid{0, 0, 0, -top, official_.short_end ? top - 1 : top};
  if (official_.eps) {
    grid.inverse = top / (reach + kOfficialEps);
    grid.step = 1 / (grid.inverse + kOfficialEps);
    return grid;
  }
  const float m = std::max(reach, kLeastReach);
  grid.inverse = top / m;
  grid.step = m / top;
  return grid;
}

kernels::ActGrid ActLevels::over(float least, float largest) const {
  const auto n = static_cast<float>((int64_t{1} << config_.bits) - 1);
  if (official_.norm) {
    const float width = largest - least + kOfficialWidth;
    return {least, n / width, width / n, 0, n};
  }
  least = std::min(least, 0.0f);
  const float width = std::max(std::max(largest, 0.0f) - least, kLeastReach);
  const float inverse = n / width;
  const float zero = std::min(std::nearbyint(-least * inverse), n);
  return {0, inverse, width / n, -zero, n - zero};
}

kernels::ActGrid ActLevels::grid(kernels::MinMax range) const {
  const float least = std::clamp(range.min, -clip_, clip_);
  const float largest = std::clamp(range.max, -clip_, clip_);
  return config_.symmetric ? symmetric(std::max(-least, largest)) : over(least, largest);
}

/// @param reach  fp32, of one range for each scale
Tensor ActLevels::symmetric_there(const Tensor& x, const Tensor& reach) const {
  const auto top = static_cast<float>((int64_t{1} << (config_.bits - 1)) - 1);
  const Tensor tops = at::full_like(reach, top);
  const Tensor m = official_.eps ? reach + kOfficialEps : reach.clamp_min(kLeastReach);
  const Tensor inverse = tops / m;
  const Tensor step = official_.eps ? at::ones_like(m) / (inverse + kOfficialEps) : m / tops;
  return (x * inverse).round_().clamp_(-top, official_.short_end ? top - 1 : top).mul_(step);
}

Tensor ActLevels::over_there(const Tensor& x, const Tensor& least, const Tensor& largest) const {
  const auto n = static_cast<float>((int64_t{1} << config_.bits) - 1);
  const Tensor all = at::full_like(least, n);
  if (official_.norm) {
    const Tensor width = largest - least + kOfficialWidth;
    return ((x - least) * (all / width)).round_().clamp_(0, n).mul_(width / all).add_(least);
  }
  const Tensor below = least.clamp_max(0);
  const Tensor width = (largest.clamp_min(0) - below).clamp_min(kLeastReach);
  const Tensor inverse = all / width;
  const Tensor zero = (-below * inverse).round_().clamp_max_(n);
  return at::clamp((x * inverse).round_(), -zero, all - zero).mul_(width / all);
}

Tensor ActLevels::rounded_there(const Tensor& x, const Tensor& least, const Tensor& largest) const {
  const Tensor wide = x.to(at::kFloat);
  const Tensor from = least.clamp(-clip_, clip_);
  const Tensor to = largest.clamp(-clip_, clip_);
  return (config_.symmetric ? symmetric_there(wide, at::maximum(-from, to))
                            : over_there(wide, from, to))
      .to(x.scalar_type());
}

int64_t ActLevels::count() const {
  const int64_t all = int64_t{1} << config_.bits;
  return config_.symmetric ? all - (official_.short_end ? 2 : 1) : all;
}

Tensor map_tokens(const Tensor& x, const Tensor& g, const TokenBody& body) {
  TORCH_CHECK(x.is_cpu() && x.dim() >= 1, "activations: expected [..., K] on the CPU");
  const Tensor from = x.contiguous();
  const Tensor up = g.defined() ? g.to(x.scalar_type()).contiguous() : g;
  Tensor y = at::empty(x.sizes(), from.options().requires_grad(false));
  if (x.numel() == 0)
    return y;
  switch (x.scalar_type()) {
    case at::kFloat:
      map_as<float>(from, up, y, body);
      break;
    case at::kBFloat16:
      map_as<at::BFloat16>(from, up, y, body);
      break;
    case at::kHalf:
      map_as<at::Half>(from, up, y, body);
      break;
    default:
      TORCH_CHECK(false, "activations: expected fp32, bf16 or fp16, got ", x.scalar_type());
  }
  return y;
}

std::vector<kernels::ActGrid> grids_of_tokens(const ActLevels& levels,
                                              const float* x,
                                              int64_t tokens,
                                              int64_t k) {
  std::vector<kernels::ActGrid> grids(static_cast<size_t>(tokens));
  const int64_t at_once = std::max<int64_t>(kElementsPerTask / std::max<int64_t>(k, 1), 1);
  at::parallel_for(0, tokens, at_once, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      grids[static_cast<size_t>(t)] = levels.grid(kernels::min_max(x + t * k, k));
  });
  return grids;
}

kernels::MinMax range_of(const Tensor& x) {
  if (x.numel() == 0)
    return {};
  const auto [least, largest] = at::aminmax(x);
  return {least.item<float>(), largest.item<float>()};
}

Tensor gradient_where(const Tensor& kept, const Tensor& g) {
  return at::where(kept, g, at::zeros({}, g.options()));
}

Tensor gradient_within(const Tensor& x, const Tensor& g, float clip) {
  if (!x.is_cpu())
    return gradient_where(x.to(at::kFloat).abs() < clip, g);
  const int64_t k = x.size(-1);
  return map_tokens(x, g, [&](const float* in, const float* up, float* out) {
    kernels::clipped_gradient(in, up, k, clip, out);
  });
}

}  // namespace sterna::quant
