// R2's L-infinity loss (arXiv:2303.08253): the largest weight alone.
//   L = max |w|,  dw = sign(w) at the largest, shared evenly where there are several

#include "quant/range_loss.h"

namespace sterna::quant {
namespace {

class LInf final : public RangeLoss {
 public:
  Result run(const Tensor& w) const override {
    const Tensor magnitude = w.abs();
    const Tensor largest = magnitude.max();
    const Tensor there = magnitude.eq(largest);
    return {largest.item<double>(), w.sign().mul_(there).div_(there.sum()), {}};
  }
};

}  // namespace

void add_l_inf(recipes::Registry<RangeLoss>& r) {
  r.add<LInf>("l_inf", "the largest |w| of a matrix (R2, arXiv:2303.08253)");
}

}  // namespace sterna::quant
