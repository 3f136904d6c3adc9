#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include "trainer/model/ops.h"

namespace sterna::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LayerNormFunction : torch::autograd::Function<LayerNormFunction> {
  static Tensor forward(AutogradContext* context,
                        const Tensor& x,
                        const std::optional<Tensor>& /*anchor*/,
                        const LayerNorm& norm,
                        at::ScalarType dtype) {
    const auto [y, mean, rstd] =
        at::native_layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, norm.eps);
    context->save_for_backward({x, mean, rstd, norm.weight, norm.bias});
    context->saved_data["grad"] = norm.grad;
    context->saved_data["bias_grad"] = norm.bias_grad;
    return y.to(dtype);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor dy = gradients[0].to(x.scalar_type()).contiguous();
    const int64_t width = x.size(-1);
    const Tensor dx = std::get<0>(at::native_layer_norm_backward(
        dy, x, {width}, saved[1], saved[2], saved[3], saved[4], {true, false, false}));
    // ATen's own sums over rows depend on the number of threads.
    const Tensor rows = gradients[0].to(at::kFloat).reshape({-1, width});
    Tensor grad = context->saved_data["grad"].toTensor();
    if (grad.defined()) {
      const Tensor n = (x.to(at::kFloat) - saved[1]) * saved[2];
      grad.add_((rows * n.view({-1, width})).sum(0));
    }
    Tensor bias_grad = context->saved_data["bias_grad"].toTensor();
    if (bias_grad.defined())
      bias_grad.add_(rows.sum(0));
    return {dx, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor LayerNorm::forward(const Tensor& x, at::ScalarType dtype) const {
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) == weight.numel() && x.size(-1) == bias.numel(),
              "norm: expected x [..., ",
              weight.numel(),
              "], got ",
              x.sizes());
  std::optional<Tensor> anchor;
  if ((grad.defined() || bias_grad.defined()) && !x.requires_grad() && at::GradMode::is_enabled())
    anchor = at::empty({0}).requires_grad_();
  return LayerNormFunction::apply(x.contiguous(), anchor, *this, dtype);
}

}  // namespace sterna::model
