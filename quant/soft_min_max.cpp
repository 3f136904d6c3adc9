// R2's soft-min-max loss (arXiv:2303.08253), for clustered weights: both ends of the range, each an
// average of which a learned a says how far it reaches inwards.
//   p_i = softmax of a w_i,   s_max = sum p_i w_i
//   q_i = softmax of -a w_i,  s_min = sum q_i w_i
//   L = s_max - s_min + e^-a,  a = e^t with t learned, so that its rate is a relative one
//   dw_i = p_i (1 + a (w_i - s_max)) - q_i (1 - a (w_i - s_min))
//   dt = a (sum p_i (w_i - s_max)^2 + sum q_i (w_i - s_min)^2 - e^-a)
//
// `sharpness` gives the first a in units of 1 / max|w|, so that it says the same of every matrix.

#include <cmath>

#include "quant/range_loss.h"

namespace sterna::quant {
namespace {

class SoftMinMax final : public RangeLoss {
 public:
  struct Config {
    double sharpness = 10;

    template <class Visitor>
    void fields(Visitor& v) {
      v("sharpness",
        sharpness,
        "first a, in units of 1 / max|w|: the larger, the fewer weights count as ends",
        recipes::Range{1e-3, 1e4});
    }
  };

  explicit SoftMinMax(const Config& config) : config_(config) {}

  void init(const Tensor& w) override {
    constexpr double kSmallest = 1e-6;  // all-zero weights
    log_a_.fill_(std::log(config_.sharpness / std::max(w.abs().max().item<double>(), kSmallest)));
  }

  Result run(const Tensor& w) const override {
    const double a = std::exp(log_a_.item<double>());
    const Tensor x = w.view(-1).to(at::kDouble);
    const End top = end(x, a);
    const End bottom = end(x, -a);
    const double tail = std::exp(-a);
    Result result;
    result.loss = top.at - bottom.at + tail;
    result.w = (top.gradient - bottom.gradient).to(at::kFloat).view(w.sizes());
    result.params = {at::full({1}, a * (top.variance + bottom.variance - tail), at::kFloat)};
    return result;
  }

  std::vector<NamedTensor> parameters() override { return {{"log_a", log_a_}}; }

 private:
  struct End {
    double at;
    double variance;
    Tensor gradient;
  };

  /// One end of the range, the upper where a is positive.
  static End end(const Tensor& x, double a) {
    const Tensor p = (x * a).softmax(0);
    const double at = (p * x).sum().item<double>();
    const Tensor apart = x - at;
    const double variance = (p * apart.square()).sum().item<double>();
    return {at, variance, p * (apart * a + 1)};
  }

  Config config_;
  Tensor log_a_ = at::zeros({1});
};

}  // namespace

void add_soft_min_max(recipes::Registry<RangeLoss>& r) {
  r.add<SoftMinMax>("soft_min_max", "soft maximum less soft minimum, for clusters (R2)");
}

}  // namespace sterna::quant
