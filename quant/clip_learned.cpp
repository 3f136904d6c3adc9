// Learned clips (PACT, arXiv:1805.06085) as KD-QAT for encoders (EMNLP 2022) applies them to
// weights: 2^bits levels from the lower to the upper clip, ends included.
//
//   one clip:  hi = max(clip, 1e-5), lo = -hi      two: lo = clip_negative, hi >= lo + 1e-5
//   scale = (hi - lo) / (2^bits - 1),  wq = scale * round((clamp(w, lo, hi) - lo) / scale) + lo
//   one clip:  dw = g [lo <= w <= hi],  dclip = sum of g over w > hi less that over w < lo
//   two:       dw = g [lo < w < hi],    dhi = sum of g over w >= hi, dlo likewise over w <= lo
//
// The published one-clip module loses the lower sum: official_lost_side. With one clip the grid has
// no zero. init = "sawb" takes SAWB's clip (arXiv:1807.06964) with the coefficients of that code.

#include <cmath>
#include <string>

#include "kernels/row_reduce.h"
#include "quant/quantizer.h"
#include "quant/uniform.h"

namespace sterna::quant {
namespace {

constexpr float kLeastClip = 1e-5f;

inline const recipes::OneOf kClipInits{"absmax", "mean", "gaussian", "mse", "clip_search", "sawb"};

struct Flow {
  double below = 0;
  double above = 0;
  void merge(const Flow& other) {
    below += other.below;
    above += other.above;
  }
};

struct Squares {
  double squares = 0;
  double sum_abs = 0;
  void merge(const Squares& other) {
    squares += other.squares;
    sum_abs += other.sum_abs;
  }
};

struct Sawb {
  double of_root;  // of sqrt(mean w^2)
  double of_mean;  // of mean |w|
};

Sawb sawb(int64_t bits) {
  static constexpr Sawb kTable[] = {
      {3.12, -2.064}, {7.509, -6.892}, {12.68, -12.80}, {17.74, -18.64}};
  if (bits < 2 || bits > 5)
    throw recipes::UserError("clip_learned: init = \"sawb\" knows 2 to 5 bits, not " +
                             std::to_string(bits) + "; choose another init");
  return kTable[bits - 2];
}

class ClipLearned final : public Quantizer {
 public:
  struct Config {
    int64_t bits = 4;
    bool two_sided = false;
    int64_t group = -1;
    std::string init = "absmax";
    bool official_lost_side = false;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code", recipes::Range<int64_t>{2, 8});
      v("two_sided", two_sided, "a clip for either side instead of one for both");
      visit_group(v, group);
      v("init", init, "first clip by one of the common rules, or SAWB's (2 to 5 bits)", kClipInits);
      v("official_lost_side",
        official_lost_side,
        "one clip: its gradient leaves out the weights below -clip, as published");
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit ClipLearned(const Config& config)
      : config_(config),
        dtype_(parse_dtype(config.scale_dtype)),
        top_(static_cast<float>((int64_t{1} << config.bits) - 1)),
        stored_less_(config.bits == 8 ? 128.0f : 0.0f) {
    if (config.init == "sawb")
      sawb(config.bits);
  }

  void allocate(const Tensor& w) override {
    clip_ = at::ones(groups(w).scales_shape());
    if (config_.two_sided)
      clip_negative_ = at::full(clip_.sizes(), -1.0f);
  }

  void init(const Tensor& w) override {
    if (config_.init == "sawb")
      clip_ = sawb_clips(w);
    else
      clip_ = first_clips(w);
    if (config_.two_sided)
      clip_negative_ = -clip_;
  }

  Encoded encode(const Tensor& w) const override {
    const Groups groups = this->groups(w);
    TORCH_CHECK(clip_.defined(), "clip_learned: init() must come before encode()");
    Encoded e = groups.encoded(config_.bits, -static_cast<int64_t>(stored_less_), dtype_);
    e.offset = top_ / 2 - stored_less_;
    if (config_.two_sided)
      e.zeros = at::zeros_like(e.scales);
    auto* scales = e.scales.mutable_data_ptr<float>();
    for (int64_t at = 0; at < e.scales.numel(); ++at) {
      const kernels::UniformGrid by = grid(at);
      scales[at] = by.scale;
      if (config_.two_sided)
        e.zeros.mutable_data_ptr<float>()[at] = -by.shift - stored_less_;
    }
    const float* x = w.const_data_ptr<float>();
    auto* codes = e.codes.mutable_data_ptr<int8_t>();
    groups.each([&](const Run& run) {
      kernels::uniform_codes(x + run.at,
                             groups.length(),
                             grid(run.scale),
                             -static_cast<int32_t>(stored_less_),
                             codes + run.at);
    });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    const Groups groups = this->groups(w);
    TORCH_CHECK(clip_.defined(), "clip_learned: init() must come before backward()");
    Gradients result{at::empty_like(w), {at::zeros_like(clip_)}};
    if (config_.two_sided)
      result.params.push_back(at::zeros_like(clip_));
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* dw = result.w.mutable_data_ptr<float>();
    groups.by_scale(
        [&](const Run& run) {
          const Ends ends = this->ends(run.scale);
          const auto found = kernels::clip_gradient(x + run.at,
                                                    g + run.at,
                                                    groups.length(),
                                                    {ends.lo, ends.hi, !config_.two_sided},
                                                    dw + run.at);
          return Flow{found.below, found.above};
        },
        [&](const Flow& flow, int64_t at) {
          const double lost = config_.two_sided || config_.official_lost_side ? 0 : flow.below;
          result.params[0].mutable_data_ptr<float>()[at] = static_cast<float>(flow.above - lost);
          if (config_.two_sided)
            result.params[1].mutable_data_ptr<float>()[at] = static_cast<float>(flow.below);
        },
        [](const Run&) {});
    return result;
  }

  std::vector<NamedTensor> parameters() override {
    if (config_.two_sided)
      return {{"clip", clip_}, {"clip_negative", clip_negative_}};
    return {{"clip", clip_}};
  }

  int64_t max_levels() const override { return int64_t{1} << config_.bits; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  struct Ends {
    float lo;
    float hi;
  };

  Groups groups(const Tensor& w) const { return {"clip_learned", w, config_.group}; }

  Ends ends(int64_t at) const {
    const float clip = clip_.const_data_ptr<float>()[at];
    if (!config_.two_sided)
      return {-std::max(clip, kLeastClip), std::max(clip, kLeastClip)};
    const float lo = clip_negative_.const_data_ptr<float>()[at];
    return {lo, std::max(clip, lo + kLeastClip)};
  }

  /// Codes 0 .. 2^bits - 1.
  kernels::UniformGrid grid(int64_t at) const {
    const Ends range = ends(at);
    const float scale = round_scale((range.hi - range.lo) / top_, dtype_);
    return {scale, 0, top_, config_.two_sided ? range.lo / scale : -top_ / 2};
  }

  /// The outermost level of a grid of 2^bits levels about zero.
  Tensor first_clips(const Tensor& w) const {
    const UniformCodes codes(
        "clip_learned", config_.group, dtype_, UniformLevels::balanced(config_.bits));
    return codes.first_scales(w, parse_init(config_.init)).mul_(codes.levels().top());
  }

  Tensor sawb_clips(const Tensor& w) const {
    const Groups groups = this->groups(w);
    Tensor clips = at::ones(groups.scales_shape());
    const float* x = w.const_data_ptr<float>();
    const Sawb by = sawb(config_.bits);
    const auto count = static_cast<double>(std::max<int64_t>(groups.weights_per_scale(), 1));
    groups.by_scale(
        [&](const Run& run) {
          return Squares{kernels::sum_squares(x + run.at, groups.length()),
                         kernels::sum_abs(x + run.at, groups.length(), HUGE_VALF)};
        },
        [&](const Squares& s, int64_t at) {
          const double clip =
              by.of_root * std::sqrt(s.squares / count) + by.of_mean * (s.sum_abs / count);
          clips.mutable_data_ptr<float>()[at] = static_cast<float>(clip);
        },
        [](const Run&) {});
    return clips;
  }

  Config config_;
  at::ScalarType dtype_;
  float top_;  // largest code
  float stored_less_;
  Tensor clip_;           // fp32 [N, G]
  Tensor clip_negative_;  // fp32 [N, G]; two sides only
};

}  // namespace

void add_clip_learned(recipes::Registry<Quantizer>& r) {
  r.add<ClipLearned>("clip_learned", "learned clips, one or two (PACT, arXiv:1805.06085; KD-QAT)");
}

}  // namespace sterna::quant
