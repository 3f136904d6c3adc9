// Generalised Jensen-Shannon divergence (Agarwal et al., arXiv:2306.13649):
//   c = beta p_t + (1 - beta) p_s,   jsd = beta kl(p_t | c) + (1 - beta) kl(p_s | c)
// beta to 0 comes to forward KL, beta to 1 to reverse KL, each divided by what goes to 0.

#include "distill/temperature.h"

namespace sterna::distill {
namespace {

class JensenShannon final : public Divergence {
 public:
  struct Config : Temperature {
    double beta = 0.5;

    template <class Visitor>
    void fields(Visitor& v) {
      Temperature::fields(v);
      v("beta", beta, "the teacher's share of the mixture", recipes::Range{1e-3, 0.999});
    }
  };

  explicit JensenShannon(const Config& config) : config_(config) {}

  Target target() const override { return Target::kTeacher; }
  View view() const override { return config_.view(config_.beta); }
  Direction direction() const override {
    return {.mixture = (1 - config_.beta) * config_.of_gradient()};
  }
  Tensor per_token(const LogitFigures& figures) const override {
    return (config_.beta * figures.teacher_to_mixture() +
            (1 - config_.beta) * figures.student_to_mixture()) *
           config_.of_loss();
  }

 private:
  Config config_;
};

}  // namespace

void add_jsd(recipes::Registry<Divergence>& r) {
  r.add<JensenShannon>("jsd", "Jensen-Shannon divergence, bounded (arXiv:2306.13649)");
}

}  // namespace sterna::distill
