// Forward Kullback-Leibler divergence (Hinton et al., arXiv:1503.02531):
//   kl = sum over words of p_t (log p_t - log p_s)
// Its gradient is that of soft cross-entropy; its value falls to 0 as the student gets there.

#include "distill/temperature.h"

namespace sterna::distill {
namespace {

class ForwardKl final : public Divergence {
 public:
  using Config = Temperature;

  explicit ForwardKl(const Config& config) : config_(config) {}

  Target target() const override { return Target::kTeacher; }
  View view() const override { return config_.view(); }
  Direction direction() const override { return {.teacher = config_.of_gradient()}; }
  Tensor per_token(const LogitFigures& figures) const override {
    return figures.kl() * config_.of_loss();
  }

 private:
  Config config_;
};

}  // namespace

void add_kl(recipes::Registry<Divergence>& r) {
  r.add<ForwardKl>("kl", "forward KL divergence, teacher to student");
}

}  // namespace sterna::distill
