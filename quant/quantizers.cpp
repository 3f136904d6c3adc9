#include "quant/quantizer.h"

namespace sterna::quant {

// One line per quantizer here, one below. Each lives in quant/<name>.cpp.
void add_absmean(recipes::Registry<Quantizer>& r);
void add_affine_learned(recipes::Registry<Quantizer>& r);
void add_balanced2(recipes::Registry<Quantizer>& r);
void add_clip_learned(recipes::Registry<Quantizer>& r);
void add_dint(recipes::Registry<Quantizer>& r);
void add_dkm(recipes::Registry<Quantizer>& r);
void add_llm_qat(recipes::Registry<Quantizer>& r);
void add_lsq(recipes::Registry<Quantizer>& r);
void add_lwc(recipes::Registry<Quantizer>& r);
void add_minmax_asym(recipes::Registry<Quantizer>& r);
void add_minmax_sym(recipes::Registry<Quantizer>& r);
void add_nf(recipes::Registry<Quantizer>& r);
void add_nf3_sided(recipes::Registry<Quantizer>& r);
void add_pact(recipes::Registry<Quantizer>& r);
void add_parq(recipes::Registry<Quantizer>& r);
void add_seq(recipes::Registry<Quantizer>& r);
void add_twn(recipes::Registry<Quantizer>& r);

const recipes::Registry<Quantizer>& quantizers() {
  static const auto registry = [] {
    recipes::Registry<Quantizer> r("quantizer");
    add_absmean(r);
    add_affine_learned(r);
    add_balanced2(r);
    add_clip_learned(r);
    add_dint(r);
    add_dkm(r);
    add_llm_qat(r);
    add_lsq(r);
    add_lwc(r);
    add_minmax_asym(r);
    add_minmax_sym(r);
    add_nf(r);
    add_nf3_sided(r);
    add_pact(r);
    add_parq(r);
    add_seq(r);
    add_twn(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::quant
