#include <torch/csrc/autograd/custom_function.h>

#include "quant/act_graph.h"

namespace sterna::quant {

// One line per activation quantizer here, one below.
void add_act_per_token(recipes::Registry<ActQuantizer>& r);
void add_act_per_tensor(recipes::Registry<ActQuantizer>& r);
void add_act_static_ema(recipes::Registry<ActQuantizer>& r);

const recipes::Registry<ActQuantizer>& act_quantizers() {
  static const auto registry = [] {
    recipes::Registry<ActQuantizer> r("act_quantizer");
    add_act_per_token(r);
    add_act_per_tensor(r);
    add_act_static_ema(r);
    return r;
  }();
  return registry;
}

namespace {

struct FakeQuantize : torch::autograd::Function<FakeQuantize> {
  static Tensor forward(torch::autograd::AutogradContext* ctx,
                        const Tensor& x,
                        const std::shared_ptr<ActQuantizer>& act) {
    ctx->save_for_backward({act->masks_gradient() ? x : Tensor()});
    ctx->saved_data["act"] = hold(act);
    return act->forward(x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const Tensor x = ctx->get_saved_variables().front();
    const Tensor& g = gradients[0];
    return {x.defined() ? held(ctx->saved_data["act"])->backward(x, g) : g, Tensor()};
  }
};

}  // namespace

Tensor fake_quantize(const std::shared_ptr<ActQuantizer>& act, const Tensor& x) {
  return FakeQuantize::apply(x, act);
}

}  // namespace sterna::quant
