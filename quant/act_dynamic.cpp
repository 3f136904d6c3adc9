// Activations by the range that they have now, as BitNet b1.58 (arXiv:2402.17764), LLM-QAT
// (arXiv:2305.17888) and TernaryBERT (arXiv:2009.12812) do: formulas in act_levels.cpp.
//   per_token:  one scale for each vector along the last dimension
//   per_tensor: one scale for all; what stands beside a token then changes it
// Gradients pass, but for what clip_val clips: dx = g where |x| < clip_val. official_mask,
// LLM-QAT's: dx = g where |x| < 2, though nothing is clipped there.
#include "quant/act_levels.h"
#include "quant/act_quantizer.h"

namespace sterna::quant {
namespace {

constexpr float kOfficialMask = 2.0f;

struct DynamicConfig {
  ActLevelsConfig levels;
  bool official_eps = false;
  bool official_norm = false;
  bool official_mask = false;

  template <class Visitor>
  void fields(Visitor& v) {
    levels.fields(v);
    v("official_eps", official_eps, "1e-6 added to the largest activation and to the scale");
    v("official_norm", official_norm, "levels from the least activation on: 0 may be none of them");
    v("official_mask", official_mask, "no gradient where an activation is 2 or more, either sign");
  }
};

/// What both have in common: all but whom a scale serves.
class Dynamic : public ActQuantizer {
 public:
  using Config = DynamicConfig;

  explicit Dynamic(const Config& config)
      : levels_(config.levels, {config.official_eps, config.official_norm, false}),
        within_(config.official_mask ? std::min(levels_.clip(), kOfficialMask) : levels_.clip()) {}

  Tensor backward(const Tensor& x, const Tensor& g) const override {
    return masks_gradient() ? gradient_within(x, g, within_) : g;
  }

  bool masks_gradient() const override { return within_ < HUGE_VALF; }
  int64_t levels() const override { return levels_.count(); }
  int64_t bits() const override { return levels_.bits(); }

 protected:
  ActLevels levels_;

 private:
  float within_;
};

class PerToken final : public Dynamic {
 public:
  using Dynamic::Dynamic;

  std::vector<kernels::ActGrid> grids(const float* x, int64_t tokens, int64_t k) const override {
    return grids_of_tokens(levels_, x, tokens, k);
  }

  Tensor forward(const Tensor& x) override {
    const int64_t k = x.size(-1);
    if (!x.is_cpu() && x.numel() > 0) {
      const auto [least, largest] = at::aminmax(x.to(at::kFloat), -1, /*keepdim=*/true);
      return levels_.rounded_there(x, least, largest);
    }
    return map_tokens(x, {}, [&](const float* in, const float*, float* out) {
      kernels::fake_quantize(in, k, levels_.grid(kernels::min_max(in, k)), out);
    });
  }
};

class PerTensor final : public Dynamic {
 public:
  using Dynamic::Dynamic;

  std::vector<kernels::ActGrid> grids(const float* x, int64_t tokens, int64_t k) const override {
    return std::vector<kernels::ActGrid>(static_cast<size_t>(tokens),
                                         levels_.grid(kernels::min_max(x, tokens * k)));
  }

  Tensor forward(const Tensor& x) override {
    const int64_t k = x.size(-1);
    if (!x.is_cpu() && x.numel() > 0) {
      const auto [least, largest] = at::aminmax(x.to(at::kFloat));
      return levels_.rounded_there(x, least, largest);
    }
    const kernels::ActGrid grid = levels_.grid(range_of(x));
    return map_tokens(x, {}, [&](const float* in, const float*, float* out) {
      kernels::fake_quantize(in, k, grid, out);
    });
  }
};

}  // namespace

void add_act_per_token(recipes::Registry<ActQuantizer>& r) {
  r.add<PerToken>("per_token", "a scale for each token, from its largest activation");
}

void add_act_per_tensor(recipes::Registry<ActQuantizer>& r) {
  r.add<PerTensor>("per_tensor", "one scale for all tokens of a call, from the largest activation");
}

}  // namespace sterna::quant
