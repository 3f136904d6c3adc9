// Learned weight clipping (OmniQuant, arXiv:2308.13137).
//
//   u = sigmoid(upper), l = sigmoid(lower)      one pair a group, row or matrix
//   scale = max(u max(w) - l min(w), 1e-5) / Q,  Q = 2^bits - 1
//   zero  = clamp(round(-l min(w) / scale), 0, Q)
//   wq    = (clamp(round(w / scale) + zero, 0, Q) - zero) * scale
//   ds    = sum of g ((q - zero) - [inside] w / scale)
//   dupper = ds max(w) u (1 - u) / Q,  dlower = -ds min(w) l (1 - l) / Q
//   dw    = g [inside]; the largest weight gets + ds u / Q, the least - ds l / Q, in equal shares
//
// OmniQuant freezes w; the last line is what autograd gives where it is trained as well. It starts
// from logits of 4 (u = 0.982), init = "absmax"; "clip_search" from BitDistiller's two fractions.
// Its zero point is not clamped to the codes, ours is: codes saturate where a group has one sign.

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/row_reduce.h"
#include "quant/asym.h"
#include "quant/quantizer.h"

namespace sterna::quant {
namespace {

constexpr float kLeastRange = 1e-5f;
constexpr float kFirstLogit = 4;

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

/// The logit of a fraction, at most that of OmniQuant's start.
float logit(float fraction) {
  return std::min(std::log(fraction / (1 - std::min(fraction, 0.999f))), kFirstLogit);
}

class Lwc final : public Quantizer {
 public:
  struct Config {
    int64_t bits = 4;
    int64_t group = 64;
    std::string init = "absmax";
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code", recipes::Range<int64_t>{2, 8});
      visit_group(v, group);
      v("init",
        init,
        "first clips: 0.982 of the range, or the pair of fractions of least error",
        recipes::OneOf{"absmax", "clip_search"});
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Lwc(const Config& config)
      : config_(config), codes_(config.bits, parse_dtype(config.scale_dtype)) {}

  void allocate(const Tensor& w) override {
    upper_ = at::full(groups(w).scales_shape(), kFirstLogit);
    lower_ = at::full_like(upper_, kFirstLogit);
  }

  void init(const Tensor& w) override {
    allocate(w);
    if (parse_init(config_.init) != Init::kClipSearch)
      return;
    const Groups groups = this->groups(w);
    const float* x = w.const_data_ptr<float>();
    const int64_t n = groups.length();
    groups.by_scale([&](const Run& run) { return codes_.extent(x + run.at, n); },
                    [&](const AsymExtent& full, int64_t at) {
                      search(full, at, [&](const kernels::UniformGrid& by) {
                        if (groups.whole())
                          return groups.total([&](const Run& run) {
                            return kernels::uniform_error(x + run.at, n, by);
                          });
                        return static_cast<double>(kernels::uniform_error(x + at * n, n, by));
                      });
                    },
                    [](const Run&) {});
  }

  Encoded encode(const Tensor& w) const override {
    const Groups groups = this->groups(w);
    TORCH_CHECK(upper_.defined(), "lwc: init() must come before encode()");
    Encoded e = codes_.encoded(groups);
    const AsymCodes::Target to = AsymCodes::target(e);
    const float* x = w.const_data_ptr<float>();
    const int64_t n = groups.length();
    groups.by_scale(
        [&](const Run& run) { return codes_.extent(x + run.at, n); },
        [&](const AsymExtent& full, int64_t at) { codes_.set(to, at, grid_of(full, clips(at))); },
        [&](const Run& run) { codes_.write(to, x, run, n); });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    const Groups groups = this->groups(w);
    Encoded e = encode(w);
    const AsymCodes::Target used = AsymCodes::target(e);
    Gradients result{at::empty_like(w), {at::zeros_like(upper_), at::zeros_like(lower_)}};
    auto* dupper = result.params[0].mutable_data_ptr<float>();
    auto* dlower = result.params[1].mutable_data_ptr<float>();
    std::vector<RangeFlow> flows(static_cast<size_t>(groups.scales()));
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* dw = result.w.mutable_data_ptr<float>();
    const int64_t n = groups.length();
    const auto measure = [&](const Run& run) {
      const AsymGrid by = codes_.grid_in_use(used, run.scale);
      return codes_.flow(x + run.at, g + run.at, n, by, dw + run.at);
    };
    const auto settle = [&](RangeFlow flow, int64_t at) {
      const Clips c = clips(at);
      const bool free = c.upper * flow.max - c.lower * flow.min >= kLeastRange;
      flow.scale = free ? flow.scale / static_cast<double>(codes_.top()) : 0.0;
      const auto d = static_cast<float>(flow.scale);
      dupper[at] = d * flow.max * c.upper * (1 - c.upper);
      dlower[at] = -d * flow.min * c.lower * (1 - c.lower);
      flows[static_cast<size_t>(at)] = flow;
    };
    groups.by_scale(measure, settle, [&](const Run& run) {
      const RangeFlow& flow = flows[static_cast<size_t>(run.scale)];
      const Clips c = clips(run.scale);
      const auto d = static_cast<float>(flow.scale);
      AsymCodes::add_to_ends(x + run.at, n, flow, {-d * c.lower, d * c.upper}, dw + run.at);
    });
    return result;
  }

  std::vector<NamedTensor> parameters() override { return {{"upper", upper_}, {"lower", lower_}}; }

  int64_t max_levels() const override { return int64_t{1} << config_.bits; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  struct Clips {
    float upper;
    float lower;
  };

  Groups groups(const Tensor& w) const { return {"lwc", w, config_.group}; }

  Clips clips(int64_t at) const {
    return {sigmoid(upper_.const_data_ptr<float>()[at]),
            sigmoid(lower_.const_data_ptr<float>()[at])};
  }

  AsymGrid grid_of(const AsymExtent& full, const Clips& by) const {
    const float min = by.lower * full.min;
    const float range = std::max(by.upper * full.max - min, kLeastRange);
    const float scale = round_scale(range / codes_.top(), codes_.scale_dtype());
    return {scale, codes_.zero_of(min, scale)};
  }

  template <class Error>
  void search(const AsymExtent& full, int64_t at, const Error& error) {
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kClips * kClips; ++i) {
      const float upper = logit(clip_fraction(i / kClips));
      const float lower = logit(clip_fraction(i % kClips));
      const AsymGrid by = grid_of(full, {sigmoid(upper), sigmoid(lower)});
      const double found = error(codes_.grid(by.scale, by.zero));
      if (found >= least)
        continue;
      least = found;
      upper_.mutable_data_ptr<float>()[at] = upper;
      lower_.mutable_data_ptr<float>()[at] = lower;
    }
  }

  Config config_;
  AsymCodes codes_;
  Tensor upper_;  // fp32 [N, G], logits
  Tensor lower_;
};

}  // namespace

void add_lwc(recipes::Registry<Quantizer>& r) {
  r.add<Lwc>("lwc", "learned clips of the range, integer zero point (OmniQuant, arXiv:2308.13137)");
}

}  // namespace sterna::quant
