// Rotary position embedding (Su et al., arXiv:2104.09864), half-split layout.
//   f_i   = theta^(-2i/d), i < d/2
//   y_i   = x_i cos(p f_i) - x_{i+d/2} sin(p f_i)
//   y_i+d/2 = x_{i+d/2} cos(p f_i) + x_i sin(p f_i)
// linear: f_i / factor. llama3: long wavelengths divided by factor, short ones kept, a ramp
// between. Frequencies follow the fp32 operations of transformers, so that angles agree bit for
// bit; a difference of one ulp in f_i is 5e-4 radians at position 8,192.
#include "kvcache/rope.h"

#include <cmath>
#include <numbers>

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace sterna::kvcache {
namespace {

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

void check(const RopeConfig& config) {
  TORCH_CHECK(config.head_dim > 0 && config.head_dim % 2 == 0,
              "rope: expected an even head width, got ",
              config.head_dim);
  TORCH_CHECK(config.type == "default" || config.type == "linear" || config.type == "llama3",
              "rope: no type '",
              config.type,
              "'; there are default, linear, llama3");
  TORCH_CHECK(config.type != "llama3" || config.original_max_positions > 0,
              "rope: llama3 needs the original number of positions");
  TORCH_CHECK(config.divisors.empty() ||
                  static_cast<int64_t>(config.divisors.size()) == config.head_dim / 2,
              "rope: expected ",
              config.head_dim / 2,
              " divisors, got ",
              config.divisors.size());
}

// Rows of d values: (B, H, T) with strides; the last dimension is contiguous.
struct Rows {
  int64_t heads, tokens, half;
  int64_t stride_b, stride_h, stride_t;
};

// The optimizer's -O2 leaves loops of unknown length unvectorized.
template <typename T>
__attribute__((optimize("O3"))) void rotate_row(
    const T* x, T* y, const T* cos, const T* sin, int64_t half, float sign) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = static_cast<float>(x[i]);
    const float b = static_cast<float>(x[i + half]);
    const float c = static_cast<float>(cos[i]);
    const float s = sign * static_cast<float>(sin[i]);
    y[i] = static_cast<T>(a * c - b * s);
    y[i + half] = static_cast<T>(b * c + a * s);
  }
}

template <typename T>
void rotate_cpu(const Tensor& x, const RopeTable& table, float sign, Tensor& y) {
  const Rows in{x.size(1), x.size(2), x.size(3) / 2, x.stride(0), x.stride(1), x.stride(2)};
  const Rows out{in.heads, in.tokens, in.half, y.stride(0), y.stride(1), y.stride(2)};
  const T* from = x.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  const T* cos = table.cos.const_data_ptr<T>();
  const T* sin = table.sin.const_data_ptr<T>();
  // Token by token, all heads of it: that is how projections lie in memory.
  at::parallel_for(0, x.size(0) * in.tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / in.tokens;
      const int64_t t = row % in.tokens;
      for (int64_t h = 0; h < in.heads; ++h) {
        rotate_row(from + b * in.stride_b + h * in.stride_h + t * in.stride_t,
                   to + b * out.stride_b + h * out.stride_h + t * out.stride_t,
                   cos + t * in.half,
                   sin + t * in.half,
                   in.half,
                   sign);
      }
    }
  });
}

Tensor rotate_anywhere(const Tensor& x, const RopeTable& table, double sign) {
  const int64_t half = x.size(-1) / 2;
  const Tensor a = x.narrow(-1, 0, half);
  const Tensor b = x.narrow(-1, half, half);
  const Tensor sin = table.sin * sign;
  return at::cat({a * table.cos - b * sin, b * table.cos + a * sin}, -1);
}

/// @param sign  +1 turns forward, -1 back: the gradient's way
Tensor rotate_raw(const Tensor& given, const RopeTable& table, float sign) {
  const bool own = given.device().is_cpu() &&
                   (given.scalar_type() == at::kFloat || given.scalar_type() == at::kBFloat16);
  if (!own) {
    return rotate_anywhere(given, table, sign);
  }
  const Tensor x = given.stride(-1) == 1 ? given : given.contiguous();
  Tensor y = at::empty_like(x);
  if (x.scalar_type() == at::kFloat) {
    rotate_cpu<float>(x, table, sign, y);
  } else {
    rotate_cpu<at::BFloat16>(x, table, sign, y);
  }
  return y;
}

class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& x,
                        const Tensor& cos,
                        const Tensor& sin) {
    context->saved_data["cos"] = cos;
    context->saved_data["sin"] = sin;
    return rotate_raw(x, {cos, sin}, 1.0f);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const RopeTable table{context->saved_data["cos"].toTensor(),
                          context->saved_data["sin"].toTensor()};
    return {rotate_raw(grads[0], table, -1.0f), Tensor(), Tensor()};
  }
};

}  // namespace

Rope::Rope(const RopeConfig& config) {
  check(config);
  const Tensor exponent = at::arange(0, config.head_dim, 2, at::kFloat) / config.head_dim;
  inverse_frequencies_ = 1.0 / at::pow(at::Scalar(config.theta), exponent);
  std::span<float> f(inverse_frequencies_.data_ptr<float>(), config.head_dim / 2);
  if (config.type == "linear") {
    inverse_frequencies_ /= config.factor;
  } else if (config.type == "llama3") {
    scale_llama3(config, f);
  }
  for (size_t i = 0; i < config.divisors.size(); ++i) {
    f[i] /= static_cast<float>(config.divisors[i]);
  }
}

RopeTable Rope::table(const Tensor& positions, at::ScalarType dtype) const {
  const at::NoGradGuard no_grad;
  const Tensor angles = positions.to(at::kFloat).unsqueeze(1) *
                        inverse_frequencies_.to(positions.device()).unsqueeze(0);
  return {angles.cos().to(dtype), angles.sin().to(dtype)};
}

Tensor rotate(const Tensor& x, const RopeTable& table) {
  TORCH_CHECK(x.dim() == 4 && x.size(2) == table.cos.size(0) && x.size(3) == 2 * table.cos.size(1),
              "rope: expected x [B, H, ",
              table.cos.size(0),
              ", ",
              2 * table.cos.size(1),
              "], got ",
              x.sizes());
  TORCH_CHECK(x.scalar_type() == table.cos.scalar_type(),
              "rope: x is ",
              x.scalar_type(),
              " but the table ",
              table.cos.scalar_type());
  return Rotate::apply(x, table.cos, table.sin);
}

RopeMemo::RopeMemo(std::shared_ptr<const Rope> rope) : rope_(std::move(rope)) {}

const RopeTable& RopeMemo::table(const Tensor& positions, at::ScalarType dtype) {
  if (!positions_.is_same(positions) || table_.cos.scalar_type() != dtype) {
    table_ = rope_->table(positions, dtype);
    positions_ = positions;
  }
  return table_;
}

}  // namespace sterna::kvcache
