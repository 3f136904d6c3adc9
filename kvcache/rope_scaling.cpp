// Frequencies and attention factors of the variants that stretch a model's context, f_i =
// theta^(-2i/d):
//   linear    f_i / factor
//   dynamic   NTK: beyond L0 tokens theta' = theta (factor L / L0 - (factor - 1))^(d / (d - 2))
//   llama3    long wavelengths divided by factor, short ones kept, a ramp between
//   yarn      (Peng et al., arXiv:2309.00071) the same by dimension: ramp from dim(beta_fast) to
//             dim(beta_slow), dim(r) = d ln(L0 / (2 pi r)) / (2 ln theta); cos and sin times
//             0.1 ln(factor) + 1
//   longrope  (Ding et al., arXiv:2402.13753) f_i / short_i up to L0 tokens, f_i / long_i beyond;
//             cos and sin times sqrt(1 + ln(factor) / ln(L0))
// They follow the fp32 operations of transformers, so that angles agree bit for bit; a difference
// of one ulp in f_i is 5e-4 radians at position 8,192.
#include <cmath>
#include <numbers>

#include "kvcache/rope.h"

namespace sterna::kvcache {
namespace {

// theta^(2i/d)
Tensor powers(const RopeConfig& config) {
  const Tensor exponent = at::arange(0, config.head_dim, 2, at::kFloat) / config.head_dim;
  return at::pow(at::Scalar(config.theta), exponent);
}

void scale_llama3(const RopeConfig& config, std::span<float> frequencies) {
  const auto length = static_cast<float>(config.original_max_positions);
  const auto low = static_cast<float>(config.low_freq_factor);
  const auto high = static_cast<float>(config.high_freq_factor);
  const auto factor = static_cast<float>(config.factor);
  for (float& f : frequencies) {
    const float wavelength = 2.0f * std::numbers::pi_v<float> / f;
    if (wavelength > length / low) {
      f /= factor;
    } else if (wavelength >= length / high) {
      const float keep = (length / wavelength - low) / (high - low);
      f = (1.0f - keep) * f / factor + keep * f;
    }
  }
}

Tensor yarn_frequencies(const RopeConfig& config) {
  const auto width = static_cast<double>(config.head_dim);
  const auto dimension = [&](double turns) {
    const auto length = static_cast<double>(config.original_max_positions);
    return width * std::log(length / (turns * 2 * std::numbers::pi)) / (2 * std::log(config.theta));
  };
  double low = dimension(config.beta_fast);
  double high = dimension(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1);
  if (low == high)
    high += 0.001;
  const Tensor index = at::arange(config.head_dim / 2, at::kFloat);
  const Tensor keep = 1 - ((index - low) / (high - low)).clamp(0, 1);
  const Tensor whole = powers(config);
  return 1.0 / (config.factor * whole) * (1 - keep) + 1.0 / whole * keep;
}

Tensor divided(const RopeConfig& config, const std::vector<double>& by) {
  return 1.0 / (at::tensor(by, at::kFloat) * powers(config));
}

// A 0-dim tensor of the length, as transformers has it: fp32 throughout.
Tensor dynamic_frequencies(const RopeConfig& config, int64_t length) {
  const auto width = static_cast<double>(config.head_dim);
  const Tensor stretch = config.factor * at::scalar_tensor(length, at::kLong) /
                             static_cast<double>(config.original_max_positions) -
                         (config.factor - 1);
  const Tensor theta = config.theta * stretch.pow(width / (width - 2));
  return 1.0 / at::pow(theta, at::arange(0, config.head_dim, 2, at::kFloat) / config.head_dim);
}

double default_attention_factor(const RopeConfig& config) {
  const auto scale = [&](double m) {
    return config.factor <= 1 ? 1.0 : 0.1 * m * std::log(config.factor) + 1.0;
  };
  if (config.type == "yarn")
    return config.mscale != 0 && config.mscale_all_dim != 0
               ? scale(config.mscale) / scale(config.mscale_all_dim)
               : scale(1);
  if (config.type == "longrope" && config.factor > 1)
    return std::sqrt(1 + std::log(config.factor) /
                             std::log(static_cast<double>(config.original_max_positions)));
  return 1.0;
}

void check_lengths(const RopeConfig& config) {
  const auto half = static_cast<size_t>(config.head_dim / 2);
  const bool longrope = config.type == "longrope";
  for (const auto* list : {&config.divisors, &config.short_factor, &config.long_factor}) {
    const bool may_be_empty = list == &config.divisors || !longrope;
    TORCH_CHECK((may_be_empty && list->empty()) || list->size() == half,
                "rope: expected ",
                half,
                " factors of frequencies, got ",
                list->size());
  }
}

void check(const RopeConfig& config) {
  TORCH_CHECK(config.head_dim > 0 && config.head_dim % 2 == 0,
              "rope: expected an even head width, got ",
              config.head_dim);
  const bool needs_length = config.type == "llama3" || config.type == "yarn" ||
                            config.type == "dynamic" || config.type == "longrope";
  TORCH_CHECK(needs_length || config.type == "default" || config.type == "linear",
              "rope: no type '",
              config.type,
              "'; there are default, linear, dynamic, llama3, yarn, longrope");
  TORCH_CHECK(!needs_length || config.original_max_positions > 0,
              "rope: ",
              config.type,
              " needs the original number of positions");
  TORCH_CHECK(config.type != "dynamic" || config.head_dim > 2, "rope: dynamic needs heads above 2");
  check_lengths(config);
}

}  // namespace

Rope::Rope(const RopeConfig& config) : config_(config) {
  check(config);
  inverse_frequencies_ = 1.0 / powers(config);
  if (config.type == "linear") {
    inverse_frequencies_ /= config.factor;
  } else if (config.type == "llama3") {
    scale_llama3(config,
                 {inverse_frequencies_.data_ptr<float>(),
                  static_cast<size_t>(inverse_frequencies_.numel())});
  } else if (config.type == "yarn") {
    inverse_frequencies_ = yarn_frequencies(config);
  } else if (config.type == "longrope") {
    inverse_frequencies_ = divided(config, config.short_factor);
    long_frequencies_ = divided(config, config.long_factor);
  }
  auto* f = inverse_frequencies_.data_ptr<float>();
  for (size_t i = 0; i < config.divisors.size(); ++i)
    f[i] /= static_cast<float>(config.divisors[i]);
  attention_factor_ = config.attention_factor.value_or(default_attention_factor(config));
}

bool Rope::depends_on_length() const {
  return config_.type == "dynamic" || config_.type == "longrope";
}

Tensor Rope::inverse_frequencies(int64_t length) const {
  if (!depends_on_length() || length <= config_.original_max_positions)
    return inverse_frequencies_;
  return config_.type == "longrope" ? long_frequencies_ : dynamic_frequencies(config_, length);
}

}  // namespace sterna::kvcache
