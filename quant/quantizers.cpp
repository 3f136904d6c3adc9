#include "quant/quantizer.h"

namespace sterna::quant {

// One line per quantizer here, one below. Each lives in quant/<name>.cpp.
void add_affine_learned(recipes::Registry<Quantizer>& r);
void add_minmax_asym(recipes::Registry<Quantizer>& r);
void add_minmax_sym(recipes::Registry<Quantizer>& r);
void add_seq(recipes::Registry<Quantizer>& r);
void add_twn(recipes::Registry<Quantizer>& r);

const recipes::Registry<Quantizer>& quantizers() {
  static const auto registry = [] {
    recipes::Registry<Quantizer> r("quantizer");
    add_affine_learned(r);
    add_minmax_asym(r);
    add_minmax_sym(r);
    add_seq(r);
    add_twn(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::quant
