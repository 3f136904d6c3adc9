// Symmetric min-max quantization (qat-kd: TernaryBERT arXiv:2009.12812, LLM-QAT arXiv:2305.17888).
//
//   lo = -(2^(bits-1) - 1), hi = 2^(bits-1) - 1     (full_range: lo = -2^(bits-1))
//   scale = clip * max(min(w) / lo, max(w) / hi)    per row, group or matrix, every step
//   wq    = clamp(round(w / scale), lo, hi) * scale
//   dw    = g; with clip_val: w is clamped to +-clip_val first, dw = g where |w| < clip_val
//
// The published code multiplies by the reciprocal of the scale; we divide, as export and kernels
// do. official_kept_mean takes the range of kd-qat-large-enc (EMNLP 2022) for 4 bits and more:
// t = mean of |w| over |w| > mean|w|, scale = 2 t / (2^bits - 1). Weights of t and more lie on a
// tie there and become +-2^(bits-1) or one less, as the last bit of t decides; here always one
// less. `clip` is 1, or (init = "mse") found once per scale by a search for the least squared
// error.

#include <limits>
#include <string>

#include "kernels/codes.h"
#include "kernels/row_reduce.h"
#include "quant/groups.h"
#include "quant/quantizer.h"
#include "quant/scale.h"

namespace sterna::quant {
namespace {

struct Extent {
  float min = 0;
  float max = 0;
  double sum_abs = 0;
  double kept_sum = 0;  // of |w| above mean |w|
  int64_t kept = 0;
  void merge(const Extent& other) {
    min = std::min(min, other.min);
    max = std::max(max, other.max);
    sum_abs += other.sum_abs;
    kept_sum += other.kept_sum;
    kept += other.kept;
  }
};

class MinmaxSym final : public Quantizer {
 public:
  struct Config {
    int64_t bits = 4;
    int64_t group = 0;
    std::string init = "absmax";
    bool full_range = false;
    bool official_kept_mean = false;
    double clip_val = 0;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code", recipes::Range<int64_t>{2, 8});
      visit_group(v, group);
      visit_init(v, init);
      v("full_range", full_range, "also use the code -2^(bits-1)");
      v("official_kept_mean",
        official_kept_mean,
        "range: mean of the |w| above mean |w| (kd-qat-large-enc, 4 bits and more)");
      v("clip_val",
        clip_val,
        "clamp weights to +- this first, no gradient beyond (TernaryBERT: 2.5); 0 = do not",
        recipes::Range{0.0, 1e6});
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit MinmaxSym(const Config& config)
      : config_(config),
        init_(parse_init(config.init)),
        dtype_(parse_dtype(config.scale_dtype)),
        clip_val_(config.clip_val > 0 ? static_cast<float>(config.clip_val)
                                      : std::numeric_limits<float>::infinity()),
        hi_(static_cast<float>((int64_t{1} << (config.bits - 1)) - 1)),
        lo_(config.full_range ? -hi_ - 1 : -hi_) {
    if (config.official_kept_mean && init_ != Init::kAbsmax)
      throw recipes::UserError(
          "minmax_sym: official_kept_mean is a range of its own; leave init = \"absmax\"");
  }

  void allocate(const Tensor& w) override {
    if (searches(init_))
      clip_ = at::ones(Groups("minmax_sym", w, config_.group).scales_shape());
  }

  void init(const Tensor& w) override {
    if (!searches(init_))
      return;
    allocate(w);
    const Groups groups("minmax_sym", w, config_.group);
    auto* clip = clip_.mutable_data_ptr<float>();
    const float* x = w.const_data_ptr<float>();
    const auto search = [&](const Extent& full, int64_t at, const auto& error) {
      clip[at] = search_fraction(init_, 1.0f, [&](float fraction) {
        return error(kernels::UniformGrid{scale_of(full, groups, fraction), lo_, hi_});
      });
    };
    if (!groups.whole()) {
      groups.each([&](const Run& run) {
        search(extent(x + run.at, groups.length()), run.scale, [&](const auto& grid) {
          return kernels::uniform_error(x + run.at, groups.length(), grid);
        });
      });
      return;
    }
    const auto measure = [&](const Run& run) { return extent(x + run.at, groups.length()); };
    const auto settle = [&](const Extent& full, int64_t at) {
      search(full, at, [&](const auto& grid) {
        return groups.total([&](const Run& run) {
          return kernels::uniform_error(x + run.at, groups.length(), grid);
        });
      });
    };
    groups.by_scale(measure, settle, [](const Run&) {});
  }

  Encoded encode(const Tensor& w) const override {
    const Groups groups("minmax_sym", w, config_.group);
    Encoded e = groups.encoded(config_.bits, static_cast<int64_t>(lo_), dtype_);
    const float* x = w.const_data_ptr<float>();
    const float* clip = clip_.defined() ? clip_.const_data_ptr<float>() : nullptr;
    auto* codes = e.codes.mutable_data_ptr<int8_t>();
    auto* scales = e.scales.mutable_data_ptr<float>();
    const int64_t n = groups.length();
    const double whole_sum = config_.official_kept_mean && groups.whole()
                                 ? groups.total([&](const Run& run) {
                                     return kernels::sum_abs(x + run.at, n, clip_val_);
                                   })
                                 : 0.0;
    const auto measure = [&](const Run& run) {
      Extent full = extent(x + run.at, n);
      if (config_.official_kept_mean)
        add_kept(x + run.at, n, groups, whole_sum, full);
      return full;
    };
    groups.by_scale(
        measure,
        [&](const Extent& full, int64_t at) {
          scales[at] = scale_of(full, groups, clip != nullptr ? clip[at] : 1.0f);
        },
        [&](const Run& run) {
          const kernels::UniformGrid grid{scales[run.scale], lo_, hi_};
          kernels::uniform_codes(x + run.at, n, grid, /*shift=*/0, codes + run.at);
        });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    if (config_.clip_val <= 0)
      return {gwq, {}};
    const Groups groups("minmax_sym", w, config_.group);
    Tensor dw = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* out = dw.mutable_data_ptr<float>();
    groups.each([&](const Run& run) {
      kernels::clipped_gradient(x + run.at, g + run.at, groups.length(), clip_val_, out + run.at);
    });
    return {dw, {}};
  }

  std::vector<NamedTensor> buffers() override {
    if (!clip_.defined())
      return {};
    return {{"clip", clip_}};
  }

  int64_t max_levels() const override { return static_cast<int64_t>(hi_ - lo_) + 1; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  Extent extent(const float* x, int64_t n) const {
    const kernels::MinMax ends = kernels::min_max(x, n);
    Extent full{std::max(ends.min, -clip_val_), std::min(ends.max, clip_val_), 0};
    if (init_ == Init::kMean || init_ == Init::kGaussian)
      full.sum_abs = kernels::sum_abs(x, n, clip_val_);
    return full;
  }

  void add_kept(
      const float* x, int64_t n, const Groups& groups, double whole_sum, Extent& full) const {
    const double sum =
        groups.whole() ? whole_sum : static_cast<double>(kernels::sum_abs(x, n, clip_val_));
    const auto count = static_cast<double>(std::max<int64_t>(groups.weights_per_scale(), 1));
    const auto mean = static_cast<float>(sum / count);
    const kernels::Kept kept = kernels::sum_abs_above(x, n, clip_val_, mean);
    full.kept_sum = kept.sum;
    full.kept = kept.count;
  }

  float scale_of(const Extent& full, const Groups& groups, float clip) const {
    if (config_.official_kept_mean && full.kept > 0) {
      const auto mean = static_cast<float>(full.kept_sum / static_cast<double>(full.kept));
      return round_scale(2 * mean / static_cast<float>((int64_t{1} << config_.bits) - 1), dtype_);
    }
    const float reach = std::max(full.min / lo_, full.max / hi_);
    if (init_ != Init::kMean && init_ != Init::kGaussian)
      return round_scale(clip * reach, dtype_);
    const auto count = static_cast<double>(groups.weights_per_scale());
    const float step = mean_step(init_, max_levels()) * static_cast<float>(full.sum_abs / count);
    return round_scale(std::min(step, reach), dtype_);
  }

  Config config_;
  Init init_;
  at::ScalarType dtype_;
  float clip_val_;
  float hi_;
  float lo_;
  Tensor clip_;  // [N, G], or undefined: 1 everywhere
};

}  // namespace

void add_minmax_sym(recipes::Registry<Quantizer>& r) {
  r.add<MinmaxSym>("minmax_sym", "symmetric integers, scale from the largest weight every step");
}

}  // namespace sterna::quant
