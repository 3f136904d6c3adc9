#include "trainer/model/ops.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/activation.h"
#include "kernels/norm.h"

namespace sterna::model {
namespace {

using kernels::Bf16;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of one piece of work. Fixed, so that sums over rows do not depend on the thread count.
constexpr int64_t kRows = 128;
constexpr int64_t kElements = 1 << 14;

bool has_kernel(const Tensor& t) {
  return t.device().is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

template <class T>
const T* read(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <class T>
T* write(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// Where nothing is trained the operations below go past autograd: for a single token its nodes
// would cost more than they compute.

// Calls `run` with a null pointer of the element type of `t`.
template <class Run>
void with_type(const Tensor& t, const Run& run) {
  if (t.scalar_type() == at::kFloat)
    run(static_cast<float*>(nullptr));
  else
    run(static_cast<Bf16*>(nullptr));
}

struct Piece {
  int64_t first;
  int64_t rows;
};

template <class Run>
void for_pieces(int64_t total, int64_t size, const Run& run) {
  at::parallel_for(0, (total + size - 1) / size, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      run(i, Piece{i * size, std::min(size, total - i * size)});
  });
}

void rms_norm_by_kernel(const RmsNorm& norm, const Tensor& x, const Tensor& y, const Tensor& rstd) {
  const int64_t width = x.size(-1);
  with_type(x, [&](auto* a) {
    with_type(y, [&](auto* b) {
      using X = std::remove_pointer_t<decltype(a)>;
      using Y = std::remove_pointer_t<decltype(b)>;
      for_pieces(rstd.numel(), kRows, [&](int64_t, Piece piece) {
        kernels::rms_norm<X, Y>({piece.rows, width, static_cast<float>(norm.eps)},
                                read<X>(x) + piece.first * width,
                                read<float>(norm.weight),
                                write<Y>(y) + piece.first * width,
                                write<float>(rstd) + piece.first);
      });
    });
  });
}

/// @param rstd  receives what backward needs
Tensor rms_norm(const RmsNorm& norm, const Tensor& in, at::ScalarType dtype, Tensor& rstd) {
  const Tensor y = at::empty(in.sizes(), in.options().dtype(dtype).requires_grad(false));
  if (has_kernel(in) && has_kernel(y)) {
    rstd = at::empty({in.numel() / std::max<int64_t>(in.size(-1), 1)}, at::kFloat);
    rms_norm_by_kernel(norm, in, y, rstd);
    return y;
  }
  const Tensor wide = in.to(at::kFloat);
  rstd = (wide.square().mean(-1, /*keepdim=*/true) + norm.eps).rsqrt();
  y.copy_((wide * rstd).to(in.scalar_type()) * norm.weight);
  rstd = rstd.flatten();
  return y;
}

struct NormFunction : torch::autograd::Function<NormFunction> {
  static Tensor forward(AutogradContext* context,
                        const Tensor& x,
                        const std::optional<Tensor>& /*anchor*/,
                        const RmsNorm& norm,
                        at::ScalarType dtype) {
    const Tensor in = x.contiguous();
    Tensor rstd;
    const Tensor y = rms_norm(norm, in, dtype, rstd);
    context->save_for_backward({in, rstd, norm.weight});
    context->saved_data["grad"] = norm.grad;
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor dy = gradients[0].contiguous();
    Tensor grad = context->saved_data["grad"].toTensor();
    const Tensor dx = has_kernel(x) && has_kernel(dy)
                          ? fused_backward(saved, dy, grad)
                          : plain_backward(saved, dy.to(at::kFloat), grad);
    return {dx, Tensor(), Tensor(), Tensor()};
  }

  static Tensor fused_backward(const variable_list& saved, const Tensor& dy, Tensor& grad) {
    const Tensor& x = saved[0];
    const int64_t width = x.size(-1);
    const int64_t rows = saved[1].numel();
    const Tensor dx = at::empty_like(x);
    const bool trained = grad.defined();
    const Tensor partial =
        trained ? at::zeros({(rows + kRows - 1) / kRows, width}, at::kFloat) : Tensor();
    with_type(x, [&](auto* a) {
      with_type(dy, [&](auto* b) {
        using X = std::remove_pointer_t<decltype(a)>;
        using Y = std::remove_pointer_t<decltype(b)>;
        for_pieces(rows, kRows, [&](int64_t index, Piece piece) {
          const int64_t at = piece.first * width;
          kernels::rms_norm_backward<X, Y>(
              {piece.rows, width, 0},
              {read<X>(x) + at,
               read<float>(saved[2]),
               read<float>(saved[1]) + piece.first,
               read<Y>(dy) + at,
               write<X>(dx) + at,
               trained ? write<float>(partial) + index * width : nullptr});
        });
      });
    });
    if (trained)
      grad.add_(partial.sum(0));
    return dx;
  }

  static Tensor plain_backward(const variable_list& saved, const Tensor& dy, Tensor& grad) {
    const Tensor& x = saved[0];
    const Tensor rstd = saved[1].view_as(x.select(-1, 0)).unsqueeze(-1);
    const Tensor n = x.to(at::kFloat) * rstd;
    if (grad.defined())
      grad.add_((dy * n.to(x.scalar_type())).reshape({-1, x.size(-1)}).sum(0));
    const Tensor g = dy * saved[2];
    return (rstd * (g - n * (g * n).mean(-1, /*keepdim=*/true))).to(x.scalar_type());
  }
};

Tensor silu_mul_by_kernel(const Tensor& gate, const Tensor& up) {
  const Tensor y = at::empty_like(gate);
  with_type(gate, [&](auto* a) {
    using T = std::remove_pointer_t<decltype(a)>;
    for_pieces(gate.numel(), kElements, [&](int64_t, Piece p) {
      kernels::silu_mul<T>(
          read<T>(gate) + p.first, read<T>(up) + p.first, write<T>(y) + p.first, p.rows);
    });
  });
  return y;
}

struct SiluMulFunction : torch::autograd::Function<SiluMulFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& gate, const Tensor& up) {
    context->save_for_backward({gate, up});
    return silu_mul_by_kernel(gate, up);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor dy = gradients[0].contiguous();
    const Tensor d_gate = at::empty_like(saved[0]);
    const Tensor d_up = at::empty_like(saved[1]);
    with_type(dy, [&](auto* a) {
      using T = std::remove_pointer_t<decltype(a)>;
      for_pieces(dy.numel(), kElements, [&](int64_t, Piece p) {
        kernels::silu_mul_backward<T>({read<T>(dy) + p.first,
                                       read<T>(saved[0]) + p.first,
                                       read<T>(saved[1]) + p.first,
                                       write<T>(d_gate) + p.first,
                                       write<T>(d_up) + p.first},
                                      p.rows);
      });
    });
    return {d_gate, d_up};
  }
};

// In a struct, because autograd takes no undefined tensor for an argument.
struct Table {
  Tensor matrix;
  Tensor grad;
};

Tensor look_up(const Tensor& tokens, const Tensor& matrix) {
  auto shape = tokens.sizes().vec();
  shape.push_back(matrix.size(1));
  return matrix.index_select(0, tokens.flatten()).view(shape);
}

struct EmbedFunction : torch::autograd::Function<EmbedFunction> {
  static Tensor forward(AutogradContext* context,
                        const std::optional<Tensor>& /*anchor*/,
                        const Tensor& tokens,
                        const Table& table) {
    context->saved_data["tokens"] = tokens;
    context->saved_data["grad"] = table.grad;
    return look_up(tokens, table.matrix);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    Tensor grad = context->saved_data["grad"].toTensor();
    const Tensor rows = gradients[0].reshape({-1, grad.size(1)}).to(at::kFloat);
    grad.index_add_(0, context->saved_data["tokens"].toTensor().flatten(), rows);
    return {Tensor(), Tensor(), Tensor()};
  }
};

// Makes backward run where a parameter is trained but no input asks for a gradient.
std::optional<Tensor> anchor(bool wanted) {
  if (!wanted || !at::GradMode::is_enabled())
    return std::nullopt;
  return at::empty({0}).requires_grad_();
}

void check_tokens(const Tensor& tokens, int64_t vocab) {
  const Tensor bad = (tokens < 0).logical_or(tokens >= vocab);
  if (bad.any().item<bool>()) {
    TORCH_CHECK(false,
                "token ",
                tokens.masked_select(bad)[0].item<int64_t>(),
                " lies outside the vocabulary of ",
                vocab);
  }
}

}  // namespace

Tensor RmsNorm::forward(const Tensor& x, at::ScalarType dtype) const {
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) == weight.numel(),
              "norm: expected x [..., ",
              weight.numel(),
              "], got ",
              x.sizes());
  if (!at::GradMode::is_enabled()) {
    Tensor rstd;
    return rms_norm(*this, x.contiguous(), dtype, rstd);
  }
  return NormFunction::apply(x, anchor(grad.defined() && !x.requires_grad()), *this, dtype);
}

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(),
              "silu_mul: expected two equal shapes and dtypes, got ",
              gate.sizes(),
              " and ",
              up.sizes());
  if (!has_kernel(gate))
    return at::silu(gate) * up;
  return at::GradMode::is_enabled() ? SiluMulFunction::apply(gate.contiguous(), up.contiguous())
                                    : silu_mul_by_kernel(gate.contiguous(), up.contiguous());
}

Tensor embed_rows(const Tensor& tokens, const Tensor& matrix, const Tensor& grad) {
  if (tokens.device().is_cpu())  // elsewhere the look-up asserts by itself, without a wait
    check_tokens(tokens, matrix.size(0));
  return at::GradMode::is_enabled()
             ? EmbedFunction::apply(anchor(grad.defined()), tokens, Table{matrix, grad})
             : look_up(tokens, matrix);
}

}  // namespace sterna::model
