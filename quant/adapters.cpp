#include "quant/act_quantizer.h"
#include "quant/adapter.h"

namespace sterna::quant {

// One line per adapter here, one below. Each lives in quant/<name>.cpp.
void add_lora(recipes::Registry<Adapter>& r);

Tensor Adapter::forward_rounded(const Tensor& x, const std::shared_ptr<ActQuantizer>& act) const {
  return forward(fake_quantize(act, x));
}

const recipes::Registry<Adapter>& adapters() {
  static const auto registry = [] {
    recipes::Registry<Adapter> r("adapter");
    add_lora(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::quant
