// Confidence-aware KL divergence (BitDistiller: Du et al., arXiv:2402.10631):
//   cakld = beta reverse_kl + (1 - beta) kl
// beta is how sure the teacher is of what it says: the mean, over the tokens of the first
// micro-batches of the run, of its largest probability. The paper speaks of the probability of the
// token that stands there; the published code takes the largest, and so do we. That code also adds
// up one batch more than it divides by: official_beta does, for parity runs.

#include "distill/temperature.h"

namespace sterna::distill {
namespace {

class Cakld final : public Divergence {
 public:
  struct Config : Temperature {
    double beta = -1;
    int64_t beta_batches = 10;
    bool official_beta = false;

    template <class Visitor>
    void fields(Visitor& v) {
      Temperature::fields(v);
      v("beta",
        beta,
        "share of reverse KL; -1: measured before the first step, the teacher's mean confidence",
        recipes::Range{-1.0, 1.0});
      v("beta_batches",
        beta_batches,
        "micro-batches that beta is measured on",
        recipes::Range{int64_t{1}, int64_t{1} << 20});
      v("official_beta",
        official_beta,
        "the published code: one batch more is added up than divided by");
    }
  };

  explicit Cakld(const Config& config) : config_(config) {
    if (config.beta < 0 && config.beta != -1)
      throw recipes::UserError("cakld: beta is a share of 0 to 1, or -1 to have it measured");
  }

  Target target() const override { return Target::kTeacher; }
  View view() const override { return config_.view(); }
  Direction direction() const override {
    const double by = config_.of_gradient();
    return {.teacher = (1 - beta()) * by, .reverse = beta() * by};
  }
  Tensor per_token(const LogitFigures& figures) const override {
    const Tensor mixed = beta() * figures.reverse_kl() + (1 - beta()) * figures.kl();
    return mixed * config_.of_loss();
  }

  int64_t batches_to_measure() const override {
    return config_.beta >= 0 ? 0 : config_.beta_batches + (config_.official_beta ? 1 : 0);
  }
  void set_confidence(double confidence) override {
    const auto batches = static_cast<double>(config_.beta_batches);
    measured_ = confidence * (config_.official_beta ? (batches + 1) / batches : 1.0);
  }

 private:
  double beta() const {
    if (config_.beta >= 0)
      return config_.beta;
    TORCH_CHECK(measured_ >= 0, "cakld: the teacher's confidence was not measured");
    return measured_;
  }

  Config config_;
  double measured_ = -1;
};

}  // namespace

void add_cakld(recipes::Registry<Divergence>& r) {
  r.add<Cakld>("cakld",
               "KL divergences both ways, mixed by how sure the teacher is (arXiv:2402.10631)");
}

}  // namespace sterna::distill
