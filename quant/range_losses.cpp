#include "quant/range_loss.h"

namespace sterna::quant {

// One line per loss here, one below. Each lives in quant/<name>.cpp.
void add_l_inf(recipes::Registry<RangeLoss>& r);
void add_margin(recipes::Registry<RangeLoss>& r);
void add_soft_min_max(recipes::Registry<RangeLoss>& r);

const recipes::Registry<RangeLoss>& range_losses() {
  static const auto registry = [] {
    recipes::Registry<RangeLoss> r("range loss");
    add_l_inf(r);
    add_margin(r);
    add_soft_min_max(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::quant
