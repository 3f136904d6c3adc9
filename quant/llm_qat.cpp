// The weights of LLM-QAT (arXiv:2305.17888): scales are statistics, taken every step.
//
//   1 bit:   wq = a sign(w), a = mean|w|                        per row, group or matrix
//   2 bits:  wq = a (round(v) + 1/2), a = mean|w|, v = clamp(w / a - 1/2, -2, 1)
//   3 .. 8:  wq = round(w s) / (s + 1e-6), s = (2^(bits-1) - 1) / (max|w| + 1e-6)
//   dw = g;  official_mask, 3 .. 8 bits: g where |w| < 2
//
// The 1e-6 are official_eps: without it the scale is max|w| / (2^(bits-1) - 1), and four times the
// weight gives four times the values. At 1 bit zeros become +a, where sign(0) would be a third
// level.

#include <string>

#include "quant/quantizer.h"
#include "quant/uniform.h"

namespace sterna::quant {
namespace {

constexpr float kEps = 1e-6f;
constexpr float kMask = 2.0f;

class LlmQat final : public Quantizer {
 public:
  struct Config {
    int64_t bits = 4;
    int64_t group = 0;
    bool official_zero = false;
    bool official_eps = false;
    bool official_mask = false;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code", recipes::Range<int64_t>{1, 8});
      visit_group(v, group);
      v("official_zero", official_zero, "1 bit: weights of exactly 0 stay 0, a third level");
      v("official_eps", official_eps, "3 bits and more: 1e-6 added to largest weight and scale");
      v("official_mask", official_mask, "3 bits and more: no gradient where |w| is 2 or more");
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit LlmQat(const Config& config)
      : config_(config),
        codes_("llm_qat", config.group, parse_dtype(config.scale_dtype), levels_of(config)) {}

  Encoded encode(const Tensor& w) const override {
    return codes_.encode_measured(w, [this](const Moments& m) { return scale_of(m); });
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    if (!config_.official_mask || config_.bits <= 2)
      return {gwq, {}};
    const Groups groups = codes_.groups(w);
    Tensor dw = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* out = dw.mutable_data_ptr<float>();
    groups.each([&](const Run& run) {
      kernels::clipped_gradient(x + run.at, g + run.at, groups.length(), kMask, out + run.at);
    });
    return {dw, {}};
  }

  int64_t max_levels() const override { return codes_.levels().count(); }
  int64_t bits() const override { return codes_.levels().bits; }
  int64_t group(int64_t k) const override { return codes_.group(k); }

 private:
  static UniformLevels levels_of(const Config& config) {
    if (config.bits == 1)
      return UniformLevels::signs(config.official_zero);
    return config.bits == 2 ? UniformLevels::balanced(/*bits=*/2)
                            : UniformLevels::symmetric(config.bits);
  }

  float scale_of(const Moments& m) const {
    if (config_.bits == 1)
      return m.mean_abs() / codes_.levels().top();
    if (config_.bits == 2)
      return m.mean_abs();
    const float top = codes_.levels().top();
    if (!config_.official_eps)
      return m.abs_max() / top;
    return 1 / (top / (m.abs_max() + kEps) + kEps);
  }

  Config config_;
  UniformCodes codes_;
};

}  // namespace

void add_llm_qat(recipes::Registry<Quantizer>& r) {
  r.add<LlmQat>("llm_qat", "LLM-QAT's weights, scales from statistics (arXiv:2305.17888)");
}

}  // namespace sterna::quant
