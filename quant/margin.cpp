// R2's margin loss (arXiv:2303.08253): every weight beyond a margin M that is learned, and M.
//   L = |M| + sum of max(|w| - |M|, 0)     reduce = "mean": the mean over all weights in its place
//   dw = sign(w) [|w| > |M|],  dM = sign(M) (1 - number of weights beyond)
//
// Of a sum, M comes to rest where about one weight lies beyond. A mean's gradient for M is positive
// wherever M is, so that M shrinks as long as the training lasts: it fits short ones.

#include "quant/range_loss.h"

namespace sterna::quant {
namespace {

class Margin final : public RangeLoss {
 public:
  struct Config {
    double start = 0.9;
    std::string reduce = "sum";

    template <class Visitor>
    void fields(Visitor& v) {
      v("start",
        start,
        "first margin, as a fraction of the largest weight",
        recipes::Range{0.0, 1.0});
      v("reduce", reduce, "of what lies beyond the margin", recipes::OneOf{"sum", "mean"});
    }
  };

  explicit Margin(const Config& config) : config_(config) {}

  void init(const Tensor& w) override { margin_.fill_(w.abs().max() * config_.start); }

  Result run(const Tensor& w) const override {
    const auto margin = margin_.abs().item<double>();
    const Tensor beyond = (w.abs() - margin).clamp_min_(0);
    const Tensor outside = beyond > 0;
    const double share = config_.reduce == "mean" ? 1 / static_cast<double>(w.numel()) : 1.0;
    const double loss = margin + share * beyond.sum(at::kDouble).item<double>();
    const double count = share * static_cast<double>(outside.sum().item<int64_t>());
    return {loss, w.sign().mul_(outside).mul_(share), {margin_.sign() * (1 - count)}};
  }

  std::vector<NamedTensor> parameters() override { return {{"margin", margin_}}; }

 private:
  Config config_;
  Tensor margin_ = at::ones({1});
};

}  // namespace

void add_margin(recipes::Registry<RangeLoss>& r) {
  r.add<Margin>("margin", "weights beyond a learned margin, and the margin (R2)");
}

}  // namespace sterna::quant
