// Reverse Kullback-Leibler divergence (MiniLLM: Gu et al., arXiv:2306.08543; here token by token):
//   reverse_kl = sum over words of p_s (log p_s - log p_t)
// The student gives up words that it cannot afford instead of covering all of the teacher's.

#include "distill/temperature.h"

namespace sterna::distill {
namespace {

class ReverseKl final : public Divergence {
 public:
  using Config = Temperature;

  explicit ReverseKl(const Config& config) : config_(config) {}

  Target target() const override { return Target::kTeacher; }
  View view() const override { return config_.view(); }
  Direction direction() const override { return {.reverse = config_.of_gradient()}; }
  Tensor per_token(const LogitFigures& figures) const override {
    return figures.reverse_kl() * config_.of_loss();
  }

 private:
  Config config_;
};

}  // namespace

void add_reverse_kl(recipes::Registry<Divergence>& r) {
  r.add<ReverseKl>("reverse_kl", "reverse KL divergence, student to teacher");
}

}  // namespace sterna::distill
