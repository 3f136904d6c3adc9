// Ternary Weight Networks (Li et al., arXiv:1605.04711), as TSLD (arXiv:2308.06744) and TernaryBERT
// (arXiv:2009.12812) use them.
//
//   cut   = threshold * mean|w|            per row, group or matrix
//   code  = sign(w) where |w| > cut, else 0
//   scale = mean of |w| over the kept weights
//   dw    = g; with clip_val: w is clamped to +-clip_val first, dw = g where |w| < clip_val
//
// The published code is 0/0 on an all-zero group; here the group decodes to zeros.

#include <limits>
#include <string>

#include "kernels/codes.h"
#include "kernels/row_reduce.h"
#include "quant/groups.h"
#include "quant/quantizer.h"
#include "quant/scale.h"

namespace sterna::quant {
namespace {

struct Magnitudes {
  double sum = 0;
  void merge(const Magnitudes& other) { sum += other.sum; }
};

struct KeptSum {
  double sum = 0;
  int64_t count = 0;
  void merge(const KeptSum& other) {
    sum += other.sum;
    count += other.count;
  }
};

class Twn final : public Quantizer {
 public:
  struct Config {
    double threshold = 0.7;
    double clip_val = 0;
    int64_t group = 0;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("threshold",
        threshold,
        "weights up to this fraction of the group's mean |w| become 0",
        recipes::Range{0.0, 2.0});
      v("clip_val",
        clip_val,
        "clamp weights to +- this first, no gradient beyond (TernaryBERT: 2.5); 0 = do not",
        recipes::Range{0.0, 1e6});
      visit_group(v, group);
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Twn(const Config& config)
      : config_(config),
        clip_(config.clip_val > 0 ? static_cast<float>(config.clip_val)
                                  : std::numeric_limits<float>::infinity()) {}

  Encoded encode(const Tensor& w) const override {
    const Groups groups("twn", w, config_.group);
    const auto dtype = parse_dtype(config_.scale_dtype);
    Encoded e = groups.encoded(/*bits=*/2, /*code_min=*/-1, dtype);
    const float* x = w.const_data_ptr<float>();
    auto* codes = e.codes.mutable_data_ptr<int8_t>();
    auto* scales = e.scales.mutable_data_ptr<float>();
    const int64_t n = groups.length();
    const auto count = static_cast<double>(groups.whole() ? w.numel() : n);
    const auto settle = [&](const KeptSum& kept, int64_t at) {
      const double mean = kept.sum / static_cast<double>(std::max<int64_t>(kept.count, 1));
      scales[at] = round_scale(static_cast<float>(mean), dtype);
    };
    const auto keep = [&](const Run& run, float cut) {
      const auto kept = kernels::sum_abs_above(x + run.at, n, clip_, cut);
      kernels::ternary_codes(x + run.at, n, clip_, cut, codes + run.at);
      return KeptSum{kept.sum, kept.count};
    };
    const auto magnitudes = [&](const Run& run) {
      return Magnitudes{kernels::sum_abs(x + run.at, n, clip_)};
    };
    const auto cut_of = [&](const Magnitudes& m) {
      return static_cast<float>(config_.threshold) * static_cast<float>(m.sum / count);
    };
    if (!groups.whole()) {
      groups.each([&](const Run& run) { settle(keep(run, cut_of(magnitudes(run))), run.scale); });
      return e;
    }
    float cut = 0;
    groups.by_scale(
        magnitudes, [&](const Magnitudes& m, int64_t) { cut = cut_of(m); }, [](const Run&) {});
    groups.by_scale([&](const Run& run) { return keep(run, cut); }, settle, [](const Run&) {});
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    if (config_.clip_val <= 0)
      return {gwq, {}};
    const Groups groups("twn", w, config_.group);
    Tensor dw = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* out = dw.mutable_data_ptr<float>();
    groups.each([&](const Run& run) {
      kernels::clipped_gradient(x + run.at, g + run.at, groups.length(), clip_, out + run.at);
    });
    return {dw, {}};
  }

  int64_t max_levels() const override { return 3; }
  int64_t bits() const override { return 2; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  Config config_;
  float clip_;
};

}  // namespace

void add_twn(recipes::Registry<Quantizer>& r) {
  r.add<Twn>("twn", "ternary: mean-threshold, scale refitted every step (arXiv:1605.04711)");
}

}  // namespace sterna::quant
