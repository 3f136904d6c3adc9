// Rotary position embedding (Su et al., arXiv:2104.09864), half-split layout.
//   f_i   = theta^(-2i/d), i < d/2
//   y_i   = x_i cos(p f_i) - x_{i+d/2} sin(p f_i)
//   y_i+d/2 = x_{i+d/2} cos(p f_i) + x_i sin(p f_i)
// Scaled variants: kvcache/rope_scaling.cpp.
#include "kvcache/rope.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace sterna::kvcache {
namespace {

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
  const int64_t table_row = table.cos.dim() == 3 ? in.tokens * in.half : 0;
  // Token by token, all heads of it: that is how projections lie in memory.
  at::parallel_for(0, x.size(0) * in.tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / in.tokens;
      const int64_t t = row % in.tokens;
      for (int64_t h = 0; h < in.heads; ++h) {
        rotate_row(from + b * in.stride_b + h * in.stride_h + t * in.stride_t,
                   to + b * out.stride_b + h * out.stride_h + t * out.stride_t,
                   cos + b * table_row + t * in.half,
                   sin + b * table_row + t * in.half,
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
  // Rows that differ: [B, 1, T, d/2].
  const bool rows = table.cos.dim() == 3;
  const Tensor cos = rows ? table.cos.unsqueeze(1) : table.cos;
  const Tensor sin = (rows ? table.sin.unsqueeze(1) : table.sin) * sign;
  return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
}

bool kernel_rotates(const Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

void rotate_by_kernel(const Tensor& x, const RopeTable& table, float sign, Tensor& y) {
  if (x.scalar_type() == at::kFloat)
    rotate_cpu<float>(x, table, sign, y);
  else
    rotate_cpu<at::BFloat16>(x, table, sign, y);
}

/// @param sign  +1 turns forward, -1 back: the gradient's way
Tensor rotate_raw(const Tensor& given, const RopeTable& table, float sign) {
  if (!kernel_rotates(given))
    return rotate_anywhere(given, table, sign);
  const Tensor x = given.stride(-1) == 1 ? given : given.contiguous();
  Tensor y = at::empty_like(x);
  rotate_by_kernel(x, table, sign, y);
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

void check_table(const Tensor& x, const RopeTable& table) {
  const int64_t tokens = table.cos.size(-2);
  const bool rows = table.cos.dim() == 3;
  TORCH_CHECK(x.dim() == 4 && x.size(2) == tokens && x.size(3) == 2 * table.cos.size(-1) &&
                  (!rows || x.size(0) == table.cos.size(0)),
              "rope: expected x [B, H, ",
              tokens,
              ", ",
              2 * table.cos.size(-1),
              "] for a table ",
              table.cos.sizes(),
              ", got ",
              x.sizes());
  TORCH_CHECK(x.scalar_type() == table.cos.scalar_type(),
              "rope: x is ",
              x.scalar_type(),
              " but the table ",
              table.cos.scalar_type());
}

}  // namespace

RopeTable Rope::table(const Tensor& positions, at::ScalarType dtype) const {
  const at::NoGradGuard no_grad;
  const int64_t length =
      depends_on_length() && positions.numel() > 0 ? positions.max().item<int64_t>() + 1 : 0;
  const Tensor angles =
      positions.to(at::kFloat).unsqueeze(-1) * inverse_frequencies(length).to(positions.device());
  const auto finish = [&](Tensor x) {
    return (attention_factor_ == 1.0 ? x : x.mul_(attention_factor_)).to(dtype);
  };
  return {finish(angles.cos()), finish(angles.sin())};
}

Tensor rotate(const Tensor& x, const RopeTable& table) {
  check_table(x, table);
  // Without a graph to build, building one is most of what a single token would cost.
  return at::GradMode::is_enabled() ? Rotate::apply(x, table.cos, table.sin)
                                    : rotate_raw(x, table, 1.0f);
}

void rotate_into(const Tensor& x, const RopeTable& table, Tensor& out) {
  check_table(x, table);
  if (kernel_rotates(x) && x.stride(-1) == 1 && out.stride(-1) == 1)
    rotate_by_kernel(x, table, 1.0f, out);
  else
    out.copy_(rotate_raw(x, table, 1.0f));
}

RopeMemo::RopeMemo(std::shared_ptr<const Rope> rope) : rope_(std::move(rope)) {}

Tensor RopeMemo::rotated(const Tensor& x, const Tensor& positions) {
  return rope_ ? rotate(x, table(positions, x.scalar_type())) : x;
}

void RopeMemo::rotate_into(const Tensor& x, const Tensor& positions, Tensor& out) {
  if (rope_)
    kvcache::rotate_into(x, table(positions, x.scalar_type()), out);
  else
    out.copy_(x);
}

const RopeTable& RopeMemo::table(const Tensor& positions, at::ScalarType dtype) {
  if (!positions_.is_same(positions) || table_.cos.scalar_type() != dtype) {
    table_ = rope_->table(positions, dtype);
    positions_ = positions;
  }
  return table_;
}

}  // namespace sterna::kvcache
