// One scale for a site, the same for every input: the range is the running average, over training
// steps, of the range that a step saw (I-BERT, arXiv:2101.01321, decay 0.95):
//   step 1: range = seen;  then range = decay range + (1 - decay) seen
//   value as in act_levels.cpp, clamped at the ends; dx = g inside the range, else 0
// official_gradient: dx = g everywhere, as the published code has it. official_clamp: codes end at
// top - 1, likewise. Differences: a step's range is that of all its micro-batches (the code moves
// the average with each), so that recomputing, accumulating and ranks change nothing; a step uses
// the range of the steps before it. Until there is one, a call's own range stands in.
#include <cmath>
#include <limits>

#include "kernels/codes.h"
#include "quant/act_levels.h"
#include "quant/act_quantizer.h"

namespace sterna::quant {
namespace {

constexpr float kNoRange = std::numeric_limits<float>::infinity();

class StaticEma final : public ActQuantizer {
 public:
  struct Config {
    ActLevelsConfig levels;
    double decay = 0.95;
    bool official_clamp = false;
    bool official_gradient = false;

    template <class Visitor>
    void fields(Visitor& v) {
      levels.fields(v);
      v("decay",
        decay,
        "what the range keeps of itself in a training step",
        recipes::Range<double>{0.0, 0.9999999});
      v("official_clamp", official_clamp, "the largest code is left out: -top .. top - 1");
      v("official_gradient", official_gradient, "gradients pass outside the range as well");
    }
  };

  explicit StaticEma(const Config& config)
      : config_(config),
        levels_(config.levels, {false, false, config.official_clamp}),
        range_(at::zeros({2})) {}

  Tensor forward(const Tensor& x) override {
    const int64_t k = x.size(-1);
    if (!x.is_cpu() && x.numel() > 0)
      return rounded_there(x);
    kernels::MinMax range{value(range_, 0), value(range_, 1)};
    if (watching_ || !ready()) {
      const kernels::MinMax own = range_of(x);
      watch(own, x.numel());
      range = ready() ? range : own;
    }
    const kernels::ActGrid grid = levels_.grid(range);
    return map_tokens(x, {}, [&](const float* in, const float*, float* out) {
      kernels::fake_quantize(in, k, grid, out);
    });
  }

  std::vector<kernels::ActGrid> grids(const float* x, int64_t tokens, int64_t k) const override {
    if (watching_ || !ready())
      return ActQuantizer::grids(x, tokens, k);
    const kernels::ActGrid grid = levels_.grid({value(range_, 0), value(range_, 1)});
    return std::vector<kernels::ActGrid>(static_cast<size_t>(tokens), grid);
  }

  Tensor backward(const Tensor& x, const Tensor& g) const override {
    if (!masks_gradient())
      return g;
    if (!ready() || config_.official_gradient)
      return gradient_within(x, g, levels_.clip());
    const kernels::ActGrid grid = levels_.grid({value(range_, 0), value(range_, 1)});
    const kernels::ClipRange range{grid.lo * grid.step, grid.hi * grid.step, /*closed=*/true};
    if (!x.is_cpu()) {
      const Tensor wide = x.to(at::kFloat);
      return gradient_where((wide >= range.lo).logical_and(wide <= range.hi), g);
    }
    const int64_t k = x.size(-1);
    return map_tokens(x, g, [&](const float* in, const float* up, float* out) {
      kernels::clip_gradient(in, up, k, range, out);
    });
  }

  bool masks_gradient() const override {
    return !config_.official_gradient || levels_.clip() < kNoRange;
  }
  int64_t levels() const override { return levels_.count(); }
  int64_t bits() const override { return levels_.bits(); }
  std::vector<NamedTensor> buffers() override { return {{"range", range_}}; }
  bool ready() const override { return value(range_, 0) != 0 || value(range_, 1) != 0; }
  bool learns() const override { return true; }

  void start_step() override {
    watching_ = true;
    seen_ = {kNoRange, -kNoRange};
    seen_there_ = Tensor();
  }

  Tensor seen() const override {
    return seen_there_.defined() ? seen_there_.cpu() : at::tensor({seen_.min, seen_.max});
  }

  void end_step(const Tensor& seen) override {
    watching_ = false;
    // An intervened layer computes nothing, and one infinite value would stay in the average.
    if (value(seen, 0) > value(seen, 1) || !std::isfinite(value(seen, 0)) ||
        !std::isfinite(value(seen, 1)))
      return;
    const double keep = ready() ? config_.decay : 0;
    auto* range = range_.mutable_data_ptr<float>();
    for (int64_t i = 0; i < 2; ++i)
      range[i] = static_cast<float>(keep * range[i] + (1 - keep) * value(seen, i));
  }

 private:
  static float value(const Tensor& pair, int64_t i) { return pair.const_data_ptr<float>()[i]; }

  /// What was seen stays on the device until the step's end: nothing waits for it before.
  Tensor rounded_there(const Tensor& x) {
    const auto one = at::TensorOptions(x.device()).dtype(at::kFloat);
    Tensor least = at::full({}, value(range_, 0), one);
    Tensor largest = at::full({}, value(range_, 1), one);
    if (watching_ || !ready()) {
      const auto [own_least, own_largest] = at::aminmax(x.to(at::kFloat));
      if (watching_)
        seen_there_ = seen_there_.defined() ? at::stack({at::minimum(seen_there_[0], own_least),
                                                         at::maximum(seen_there_[1], own_largest)})
                                            : at::stack({own_least, own_largest});
      least = ready() ? least : own_least;
      largest = ready() ? largest : own_largest;
    }
    return levels_.rounded_there(x, least, largest);
  }

  void watch(const kernels::MinMax& own, int64_t count) {
    if (!watching_ || count == 0)
      return;
    seen_.min = std::min(seen_.min, own.min);
    seen_.max = std::max(seen_.max, own.max);
  }

  Config config_;
  ActLevels levels_;
  Tensor range_;  // fp32 [2]: least and largest; zeros before the first step
  bool watching_ = false;
  kernels::MinMax seen_;
  Tensor seen_there_;  // fp32 [2]: the same of activations that are not in host memory
};

}  // namespace

void add_act_static_ema(recipes::Registry<ActQuantizer>& r) {
  r.add<StaticEma>("static_ema", "one scale a site, from the running average of its range");
}

}  // namespace sterna::quant
