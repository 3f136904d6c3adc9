#include "distill/divergence.h"

namespace sterna::distill {

// One line per divergence here, one below. Each lives in distill/<name>.cpp.
void add_cakld(recipes::Registry<Divergence>& r);
void add_gt(recipes::Registry<Divergence>& r);
void add_jsd(recipes::Registry<Divergence>& r);
void add_kl(recipes::Registry<Divergence>& r);
void add_reverse_kl(recipes::Registry<Divergence>& r);
void add_soft_ce(recipes::Registry<Divergence>& r);

const recipes::Registry<Divergence>& divergences() {
  static const auto registry = [] {
    recipes::Registry<Divergence> r("divergence");
    add_cakld(r);
    add_gt(r);
    add_jsd(r);
    add_kl(r);
    add_reverse_kl(r);
    add_soft_ce(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::distill
