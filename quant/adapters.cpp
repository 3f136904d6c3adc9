#include "quant/adapter.h"

namespace sterna::quant {

// One line per adapter here, one below. Each lives in quant/<name>.cpp.
void add_lora(recipes::Registry<Adapter>& r);

const recipes::Registry<Adapter>& adapters() {
  static const auto registry = [] {
    recipes::Registry<Adapter> r("adapter");
    add_lora(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::quant
