// Forward Kullback-Leibler divergence (Hinton et al., arXiv:1503.02531, temperature 1):
//   kl = sum over words of p_t (log p_t - log p_s)
// Its gradient is that of soft cross-entropy; its value falls to 0 as the student gets there.

#include "distill/divergence.h"

namespace sterna::distill {
namespace {

class ForwardKl final : public Divergence {
 public:
  Target target() const override { return Target::kTeacher; }
  Tensor per_token(const LogitFigures& figures) const override { return figures.kl(); }
};

}  // namespace

void add_kl(recipes::Registry<Divergence>& r) {
  r.add<ForwardKl>("kl", "forward KL divergence, teacher to student");
}

}  // namespace sterna::distill
