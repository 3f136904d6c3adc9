// A learned clip in units of mean |w| (PACT, arXiv:1805.06085; module-wise dynamic scaling of
// QuantGPT, arXiv:2203.10705, as TSLD's `learned_scale` has it).
//
//   m = mean|w| of what shares the scale (n weights),  a = max(gamma, 1e-6) m,  Q = 2^(bits-1) - 1
//   wq     = a round(Q clamp(w, -a, a) / a) / Q
//   dgamma = m S,  S = sum of g r,  r = sign(w) where |w| > a, else wq / a - w / a
//   dw     = g [|w| <= a] + gamma S sign(w) / n
//
// The second term of dw exists because m depends on w; detach_mean drops it. a / Q is rounded to
// `scale_dtype`, straight through. TSLD starts from gamma = 1, below the Gaussian optimum 1.534 of
// three levels, which init = "gaussian" gives. The published code is 0/0 on an all-zero group.

#include <algorithm>
#include <string>

#include "quant/quantizer.h"
#include "quant/uniform.h"

namespace sterna::quant {
namespace {

constexpr float kLeastGamma = 1e-6f;

struct Flow {
  double clip = 0;  // sum of g r, in units of a / Q
  void merge(const Flow& other) { clip += other.clip; }
};

class Pact final : public Quantizer {
 public:
  struct Config {
    int64_t bits = 2;
    int64_t group = 0;
    std::string init = "gaussian";
    double gamma = 0;
    bool detach_mean = false;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code; 2: three levels", recipes::Range<int64_t>{2, 8});
      visit_group(v, group);
      visit_init(v, init);
      v("gamma",
        gamma,
        "first clip, in units of mean |w| (TSLD: 1); 0 = from init",
        recipes::Range{0.0, 100.0});
      v("detach_mean", detach_mean, "no gradient to the weights through mean |w|");
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Pact(const Config& config)
      : config_(config),
        codes_("pact",
               config.group,
               parse_dtype(config.scale_dtype),
               UniformLevels::symmetric(config.bits)) {}

  void allocate(const Tensor& w) override {
    gamma_ = at::ones(codes_.groups(w).scales_shape());
    if (config_.gamma > 0)
      gamma_.fill_(config_.gamma);
  }

  void init(const Tensor& w) override {
    allocate(w);
    if (config_.gamma > 0)
      return;
    const Tensor steps = codes_.first_scales(w, parse_init(config_.init));
    const float* step = steps.const_data_ptr<float>();
    auto* gamma = gamma_.mutable_data_ptr<float>();
    const float* x = w.const_data_ptr<float>();
    const Groups groups = codes_.groups(w);
    groups.by_scale([&](const Run& run) { return moments(x + run.at, groups.length()); },
                    [&](const Moments& m, int64_t at) {
                      const float mean = m.mean_abs();
                      gamma[at] = mean > 0 ? step[at] * codes_.levels().top() / mean : 1.0f;
                    },
                    [](const Run&) {});
  }

  Encoded encode(const Tensor& w) const override {
    codes_.check_ready(gamma_, w);
    const std::vector<float> means = this->means(w);
    return codes_.encode_learned(w, [&](int64_t at) { return step(means, at); });
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    codes_.check_ready(gamma_, w);
    const Groups groups = codes_.groups(w);
    const std::vector<float> means = this->means(w);
    Gradients result{at::empty_like(w), {at::zeros_like(gamma_)}};
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    const float* gamma = gamma_.const_data_ptr<float>();
    auto* dw = result.w.mutable_data_ptr<float>();
    auto* dgamma = result.params[0].mutable_data_ptr<float>();
    std::vector<float> through_mean(means.size(), 0.0f);
    const auto count = static_cast<double>(std::max<int64_t>(groups.weights_per_scale(), 1));
    groups.by_scale(
        [&](const Run& run) {
          return Flow{kernels::clamped_gradient(x + run.at,
                                                g + run.at,
                                                groups.length(),
                                                codes_.grid(step(means, run.scale)),
                                                dw + run.at)};
        },
        [&](const Flow& flow, int64_t at) {
          const double clip = flow.clip / static_cast<double>(codes_.levels().top());
          dgamma[at] = static_cast<float>(means[static_cast<size_t>(at)] * clip);
          through_mean[static_cast<size_t>(at)] =
              config_.detach_mean
                  ? 0.0f
                  : static_cast<float>(std::max(gamma[at], kLeastGamma) * clip / count);
        },
        [&](const Run& run) {
          const float add = through_mean[static_cast<size_t>(run.scale)];
          for (int64_t i = run.at; i < run.at + groups.length(); ++i)
            dw[i] += x[i] > 0 ? add : x[i] < 0 ? -add : 0.0f;
        });
    return result;
  }

  std::vector<NamedTensor> parameters() override { return {{"gamma", gamma_}}; }

  int64_t max_levels() const override { return codes_.levels().count(); }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return codes_.group(k); }

 private:
  /// mean|w| of every scale.
  std::vector<float> means(const Tensor& w) const {
    const Groups groups = codes_.groups(w);
    std::vector<float> result(static_cast<size_t>(groups.scales()));
    const float* x = w.const_data_ptr<float>();
    groups.by_scale(
        [&](const Run& run) { return moments(x + run.at, groups.length()); },
        [&](const Moments& m, int64_t at) { result[static_cast<size_t>(at)] = m.mean_abs(); },
        [](const Run&) {});
    return result;
  }

  float step(const std::vector<float>& means, int64_t at) const {
    const float gamma = std::max(gamma_.const_data_ptr<float>()[at], kLeastGamma);
    return gamma * means[static_cast<size_t>(at)] / codes_.levels().top();
  }

  Config config_;
  UniformCodes codes_;
  Tensor gamma_;  // fp32 [N, G]
};

}  // namespace

void add_pact(recipes::Registry<Quantizer>& r) {
  r.add<Pact>("pact", "learned clip in units of mean |w| (PACT, arXiv:1805.06085; TSLD)");
}

}  // namespace sterna::quant
