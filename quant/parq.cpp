// PARQ (Jin et al., arXiv:2503.15748; torchao.prototype.parq): weights are drawn to the grid by a
// piecewise-affine map that grows steeper over the training and ends as rounding.
//
//   scale s every step:  min(bits mean|w|, max|w|) / (2^(bits-1) - 1/2), levels s (q + 1/2)
//                        three levels: 1.1 mean|w|, levels s q
//   v = w / s, lower and upper the levels (in units of s) around it, r the inverse slope:
//   wq = s clamp(m + (v - m) / r, lower, upper),  m = (lower + upper) / 2;  dw = g
//   r(p) = (h(p) - h(1)) / (h(0) - h(1)),  h(p) = 1 / (1 + exp(steepness (p - 1/2)))
// with p rising from 0 at `anneal_start` to 1 at `anneal_end`, both fractions of the stage's steps;
// wq = w before, rounding with a straight-through gradient behind.
//
// Differences from the published code: it changes the optimizer (the map is applied to the weights
// behind each update and the latent weights take the gradient found there), which is the same
// arithmetic said elsewhere; the anneal's ends are fractions instead of step numbers; scales are
// rounded to `scale_dtype` ("fp32" gives the published values).

#include <algorithm>
#include <cmath>

#include "quant/soft_quantizer.h"
#include "quant/uniform.h"

namespace sterna::quant {
namespace {

class Parq final : public SoftQuantizer {
 public:
  struct Config {
    int64_t bits = 2;
    int64_t group = 0;
    double anneal_start = 0;
    double anneal_end = 0.8;
    double steepness = 10;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "levels around zero; 0: three levels with it", recipes::Range<int64_t>{0, 4});
      visit_group(v, group);
      v("anneal_start",
        anneal_start,
        "fraction of the steps before which weights are left alone",
        recipes::Range{0.0, 1.0});
      v("anneal_end",
        anneal_end,
        "fraction of the steps from which they are rounded, whatever anneal_start says",
        recipes::Range{0.0, 1.0});
      v("steepness",
        steepness,
        "of the curve between both; the smaller, the more linear",
        recipes::Range{0.01, 100.0});
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Parq(const Config& config)
      : config_(config),
        codes_("parq",
               config.group,
               parse_dtype(config.scale_dtype),
               config.bits == 0 ? UniformLevels::symmetric(/*bits=*/2)
                                : UniformLevels::balanced(config.bits)) {}

  Encoded encode(const Tensor& w) const override {
    return codes_.encode_measured(w, [&](const Moments& m) {
      if (config_.bits == 0)
        return 1.1f * m.mean_abs();
      const float reach = std::min(static_cast<float>(config_.bits) * m.mean_abs(), m.abs_max());
      return reach / codes_.levels().top();
    });
  }

  Tensor soft_value(const Tensor& w, const Progress& at) const override {
    const double slope = inverse_slope(at);
    if (slope == 0)
      return {};
    if (slope == kUntouched)
      return w;
    const Encoded hard = encode(w);
    const Groups groups = codes_.groups(w);
    Tensor value = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    const float* scales = hard.scales.const_data_ptr<float>();
    auto* out = value.mutable_data_ptr<float>();
    groups.each([&](const Run& run) {
      for (int64_t i = run.at; i < run.at + groups.length(); ++i)
        out[i] = drawn(x[i], scales[run.scale], static_cast<float>(slope));
    });
    return value;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    (void)w;
    return {gwq, {}};
  }

  int64_t max_levels() const override { return codes_.levels().count(); }
  int64_t bits() const override { return codes_.levels().bits; }
  int64_t group(int64_t k) const override { return codes_.group(k); }

 private:
  static constexpr double kUntouched = 2;  // before the anneal even the range is not clamped

  double inverse_slope(const Progress& at) const {
    if (at.over())
      return 0;
    const double now = static_cast<double>(at.step) / static_cast<double>(at.steps);
    if (now >= config_.anneal_end)
      return 0;
    if (now < config_.anneal_start)
      return kUntouched;
    const double p = (now - config_.anneal_start) / (config_.anneal_end - config_.anneal_start);
    const auto h = [&](double x) { return 1 / (1 + std::exp(config_.steepness * (x - 0.5))); };
    return (h(p) - h(1)) / (h(0) - h(1));
  }

  float drawn(float w, float scale, float inverse_slope) const {
    const UniformLevels& levels = codes_.levels();
    const float v = w / scale - levels.shift;
    const float lower = std::clamp(std::floor(v), levels.lo, levels.hi);
    const float upper = std::clamp(std::ceil(v), levels.lo, levels.hi);
    const float middle = (lower + upper) / 2;
    const float steep = middle + (v - middle) / inverse_slope;
    return (std::clamp(steep, lower, upper) + levels.shift) * scale;
  }

  Config config_;
  UniformCodes codes_;
};

}  // namespace

void add_parq(recipes::Registry<Quantizer>& r) {
  r.add<Parq>("parq", "rounding that sets in by degrees, 1 to 4 bits or ternary (PARQ)");
}

}  // namespace sterna::quant
