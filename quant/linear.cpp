#include "quant/linear.h"

#include <optional>

#include <torch/csrc/autograd/custom_function.h>

#include "quant/act_graph.h"

namespace sterna::quant {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor rows_of(const Tensor& t) {
  return t.reshape({-1, t.size(-1)});
}

/// grad += dy^T x. A bf16 product runs two to three times as fast as an fp32 one and is rounded
/// once (0.2 % of its norm); the sum over micro-batches, where rounding would swallow small
/// updates, stays in fp32.
void add_weight_gradient(Tensor& grad, const Tensor& dy, const Tensor& x) {
  if (dy.scalar_type() == at::kFloat) {
    grad.addmm_(dy.t(), x);
  } else {
    grad.add_(at::mm(dy.t(), x));
  }
}

Tensor product(const Linear& linear, const Tensor& x) {
  const Tensor& w = linear.weight;
  const Tensor read = linear.act ? linear.act->forward(x) : x;
  return linear.bias.defined() ? at::linear(read, w, linear.bias.to(w.scalar_type()))
                               : at::linear(read, w);
}

/// Saves x and references to the weight and to the gradient buffers, nothing else; what the product
/// read of x is rounded anew.
struct LinearFunction : torch::autograd::Function<LinearFunction> {
  /// @param anchor  requires grad where only weight or bias are trained, so that backward runs
  ///                although x does not ask for it
  static Tensor forward(AutogradContext* ctx,
                        const Tensor& x,
                        const std::optional<Tensor>& anchor,
                        const Linear& linear) {
    (void)anchor;
    const bool masks = linear.act && linear.act->masks_gradient();
    ctx->save_for_backward({linear.grad.defined() || masks ? x : Tensor(), linear.weight});
    ctx->saved_data["grad"] = linear.grad;
    ctx->saved_data["bias_grad"] = linear.bias_grad;
    if (linear.act)
      ctx->saved_data["act"] = hold(linear.act);
    return product(linear, x);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor& weight = saved[1];
    const Tensor dy = rows_of(gradients[0]);
    const std::shared_ptr<ActQuantizer> act = held(ctx->saved_data["act"]);
    Tensor grad = ctx->saved_data["grad"].toTensor();
    if (grad.defined()) {
      add_weight_gradient(grad, dy, rows_of(act ? act->forward(saved[0]) : saved[0]));
    }
    Tensor bias_grad = ctx->saved_data["bias_grad"].toTensor();
    if (bias_grad.defined()) {
      bias_grad.add_(dy.sum({0}, /*keepdim=*/false, at::kFloat));
    }
    variable_list result(3);
    if (ctx->needs_input_grad(0)) {
      auto shape = gradients[0].sizes().vec();
      shape.back() = weight.size(1);
      result[0] = at::mm(dy, weight).view(shape);
      if (act && act->masks_gradient())
        result[0] = act->backward(saved[0], result[0]);
    }
    return result;
  }
};

void check(const Linear& linear, const Tensor& x) {
  const Tensor& w = linear.weight;
  TORCH_CHECK(w.defined() && w.dim() == 2, linear.name, ": the weight [N, K] is not set");
  TORCH_CHECK(!w.requires_grad(),
              linear.name,
              ": the weight must not require grad; its gradient goes to Linear::grad");
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) == w.size(1),
              linear.name,
              ": expected x [..., ",
              w.size(1),
              "], got ",
              x.sizes());
  TORCH_CHECK(x.scalar_type() == w.scalar_type(),
              linear.name,
              ": x is ",
              x.scalar_type(),
              ", the weight ",
              w.scalar_type());
  TORCH_CHECK(!linear.bias.defined() || linear.bias.numel() == w.size(0),
              linear.name,
              ": expected bias [",
              w.size(0),
              "], got ",
              linear.bias.sizes());
  TORCH_CHECK(!linear.grad.defined() ||
                  (linear.grad.scalar_type() == at::kFloat && linear.grad.sizes() == w.sizes()),
              linear.name,
              ": expected grad fp32 ",
              w.sizes(),
              ", got ",
              linear.grad.sizes());
  TORCH_CHECK(!linear.bias_grad.defined() || (linear.bias_grad.scalar_type() == at::kFloat &&
                                              linear.bias_grad.numel() == w.size(0)),
              linear.name,
              ": expected bias_grad fp32 [",
              w.size(0),
              "], got ",
              linear.bias_grad.sizes());
}

/// Of a layer that has no weight of its own, see quant/packed.h.
Tensor adapter_alone(const Linear& linear, const Tensor& x) {
  const Tensor& w = linear.weight;
  TORCH_CHECK(
      x.scalar_type() == w.scalar_type() && !linear.grad.defined() && !linear.bias_grad.defined(),
      linear.name,
      ": expected x in ",
      w.scalar_type(),
      " and nothing trained where the weight is empty");
  const Tensor y =
      linear.act ? linear.adapter->forward_rounded(x, linear.act) : linear.adapter->forward(x);
  return linear.bias.defined() ? y + linear.bias.to(y.scalar_type()) : y;
}

}  // namespace

Tensor Linear::forward(const Tensor& x) const {
  if (adapter && weight.defined() && weight.size(0) == 0)
    return adapter_alone(*this, x);
  check(*this, x);
  if (!at::GradMode::is_enabled() && !adapter)
    return product(*this, x);
  std::optional<Tensor> anchor;
  const bool trained = grad.defined() || bias_grad.defined();
  if (trained && !x.requires_grad() && at::GradMode::is_enabled()) {
    anchor = at::empty({0}).requires_grad_();
  }
  const Tensor y = LinearFunction::apply(x, anchor, *this);
  if (!adapter)
    return y;
  // What the adapter is merged into reads the rounded x.
  return y + adapter->forward(act ? fake_quantize(act, x) : x);
}

}  // namespace sterna::quant
