// Soft cross-entropy: the student's cross-entropy with the teacher's distribution,
//   soft_ce = - sum over words of p_t log p_s  =  kl + entropy of the teacher

#include "distill/temperature.h"

namespace sterna::distill {
namespace {

class SoftCrossEntropy final : public Divergence {
 public:
  using Config = Temperature;

  explicit SoftCrossEntropy(const Config& config) : config_(config) {}

  Target target() const override { return Target::kTeacher; }
  View view() const override { return config_.view(); }
  // The rest's own entropy would be the student's; "kl" has the same gradient.
  bool takes_top_words() const override { return false; }
  Direction direction() const override { return {.teacher = config_.of_gradient()}; }
  Tensor per_token(const LogitFigures& figures) const override {
    return figures.soft_ce() * config_.of_loss();
  }

 private:
  Config config_;
};

}  // namespace

void add_soft_ce(recipes::Registry<Divergence>& r) {
  r.add<SoftCrossEntropy>("soft_ce", "cross-entropy with the teacher's distribution");
}

}  // namespace sterna::distill
