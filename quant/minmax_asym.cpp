// Asymmetric groups with an integer zero point (AWQ, arXiv:2306.00978; TSLD, arXiv:2308.06744).
//
//   scale = max(max(w) - min(w), 1e-5) / (2^bits - 1)      per group, row or matrix, every step
//   zero  = clamp(-round(min(w) / scale), 0, 2^bits - 1)
//   wq    = (clamp(round(w / scale) + zero, 0, 2^bits - 1) - zero) * scale
//   dw    = g
//
// Zero is always a level; codes saturate where all weights of a group have one sign. The published
// rule is init = "absmax"; searches shrink every range once, at init, and keep that fraction and
// that zero point while the range follows the weight. TernaryBERT's asymmetric quantizer
// (arXiv:2009.12812) is zero = "float", clip_val = 2.5:
//
//   scale = (max(w) - min(w) + 1e-8) / (2^bits - 1),  zero = -min(w) / scale
//   wq    = (round(w / scale + zero) - zero) * scale
//
// clip_val clamps w to +- that first, dw = g where |w| < clip_val.
//
// BitDistiller (arXiv:2402.10631) differentiates through the range, official_range_gradient:
//
//   ds = sum of g ((q - zero) - [inside] w / scale);  dw = g [inside], and the largest and the
//   least weight get +- ds / (2^bits - 1) in equal shares
//
// and rounds w / scale, not the zero point, half away from zero: official_rounding.

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/row_reduce.h"
#include "quant/asym.h"
#include "quant/quantizer.h"

namespace sterna::quant {
namespace {

constexpr float kLeastSpan = 1e-5f;
constexpr float kAddedRange = 1e-8f;

class MinmaxAsym final : public Quantizer {
 public:
  struct Config : AsymConfig {
    Config() : AsymConfig{.bits = 4} {}
    std::string zero = "integer";
    double clip_val = 0;
    bool official_range_gradient = false;
    bool official_rounding = false;

    template <class Visitor>
    void fields(Visitor& v) {
      AsymConfig::fields(v);
      v("zero",
        zero,
        "zero point: an integer code, or any number (range from the least weight on)",
        recipes::OneOf{"integer", "float"});
      v("clip_val",
        clip_val,
        "clamp weights to +- this first, no gradient beyond (TernaryBERT: 2.5); 0 = do not",
        recipes::Range{0.0, 1e6});
      v("official_range_gradient",
        official_range_gradient,
        "gradient through the range to its ends, none to clipped weights (BitDistiller)");
      v("official_rounding", official_rounding, "ties away from zero (BitDistiller)");
    }
  };

  explicit MinmaxAsym(const Config& config)
      : config_(config),
        init_(parse_init(config.init)),
        codes_(config.bits,
               parse_dtype(config.scale_dtype),
               {config.zero == "float", config.official_rounding}) {
    const bool statistic = init_ == Init::kMean || init_ == Init::kGaussian;
    if (statistic && (config.official_range_gradient || config.clip_val > 0))
      throw recipes::UserError(
          "minmax_asym: clip_val and official_range_gradient need a range from the weights: init = "
          "\"absmax\", \"mse\" or \"clip_search\"");
    if (config.zero == "float" && init_ != Init::kAbsmax)
      throw recipes::UserError(
          "minmax_asym: zero = \"float\" starts the range at the least weight: it goes with init = "
          "\"absmax\" alone");
    if (config.official_range_gradient && (config.zero == "float" || config.clip_val > 0))
      throw recipes::UserError(
          "minmax_asym: official_range_gradient goes with zero = \"integer\" and without clip_val");
  }

  void allocate(const Tensor& w) override {
    if (!searches(init_))
      return;
    const Groups groups("minmax_asym", w, config_.group);
    clip_ = at::ones(groups.scales_shape());
    zero_ = at::zeros(groups.scales_shape());
  }

  void init(const Tensor& w) override {
    if (!searches(init_))
      return;
    allocate(w);
    const Groups groups("minmax_asym", w, config_.group);
    const float* x = w.const_data_ptr<float>();
    const int64_t n = groups.length();
    const auto keep = [&](const AsymCodes::Searched& found, int64_t at) {
      clip_.mutable_data_ptr<float>()[at] = found.fraction;
      zero_.mutable_data_ptr<float>()[at] = found.zero;
    };
    if (!groups.whole()) {
      groups.each([&](const Run& run) {
        const AsymExtent full = extent(x + run.at, n);
        keep(codes_.search(init_,
                           full,
                           scale_of(full),
                           [&](const kernels::UniformGrid& grid) {
                             return kernels::uniform_error(x + run.at, n, grid);
                           }),
             run.scale);
      });
      return;
    }
    const auto settle = [&](const AsymExtent& full, int64_t at) {
      keep(codes_.search(init_,
                         full,
                         scale_of(full),
                         [&](const kernels::UniformGrid& grid) {
                           return groups.total([&](const Run& run) {
                             return kernels::uniform_error(x + run.at, n, grid);
                           });
                         }),
           at);
    };
    groups.by_scale(
        [&](const Run& run) { return extent(x + run.at, n); }, settle, [](const Run&) {});
  }

  Encoded encode(const Tensor& w) const override {
    const Groups groups("minmax_asym", w, config_.group);
    Encoded e = codes_.encoded(groups);
    const AsymCodes::Target to = AsymCodes::target(e);
    const Searched searched = this->searched();
    const float* x = w.const_data_ptr<float>();
    const int64_t n = groups.length();
    groups.by_scale(
        [&](const Run& run) {
          AsymExtent full = extent(x + run.at, n);
          if (init_ == Init::kMean || init_ == Init::kGaussian) {
            full.sum = kernels::sum(x + run.at, n);
            full.sum_abs = kernels::sum_abs(x + run.at, n, HUGE_VALF);
          }
          return full;
        },
        [&](const AsymExtent& full, int64_t at) {
          codes_.set(to, at, grid_of(full, groups, searched, at));
        },
        [&](const Run& run) { codes_.write(to, x, run, n); });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    if (config_.official_range_gradient)
      return through_range(w, gwq);
    if (config_.clip_val <= 0)
      return {gwq, {}};
    const Groups groups("minmax_asym", w, config_.group);
    Tensor dw = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* out = dw.mutable_data_ptr<float>();
    const auto edge = static_cast<float>(config_.clip_val);
    groups.each([&](const Run& run) {
      kernels::clipped_gradient(x + run.at, g + run.at, groups.length(), edge, out + run.at);
    });
    return {dw, {}};
  }

  std::vector<NamedTensor> buffers() override {
    if (!clip_.defined())
      return {};
    return {{"clip", clip_}, {"zero", zero_}};
  }

  int64_t max_levels() const override { return int64_t{1} << config_.bits; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  AsymExtent extent(const float* x, int64_t n) const {
    AsymExtent full = codes_.extent(x, n);
    if (config_.clip_val > 0) {
      const auto edge = static_cast<float>(config_.clip_val);
      full.min = std::clamp(full.min, -edge, edge);
      full.max = std::clamp(full.max, -edge, edge);
    }
    return full;
  }

  float scale_of(const AsymExtent& full) const {
    const float range = full.max - full.min;
    return (config_.zero == "float" ? range + kAddedRange : std::max(range, kLeastSpan)) /
           codes_.top();
  }

  Gradients through_range(const Tensor& w, const Tensor& gwq) const {
    const Groups groups("minmax_asym", w, config_.group);
    Encoded e = encode(w);
    const AsymCodes::Target used = AsymCodes::target(e);
    std::vector<RangeFlow> flows(static_cast<size_t>(groups.scales()));
    const Searched searched = this->searched();
    Tensor dw = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* out = dw.mutable_data_ptr<float>();
    const int64_t n = groups.length();
    groups.by_scale(
        [&](const Run& run) {
          const AsymGrid by = codes_.grid_in_use(used, run.scale);
          return codes_.flow(x + run.at, g + run.at, n, by, out + run.at);
        },
        [&](const RangeFlow& flow, int64_t at) { flows[static_cast<size_t>(at)] = flow; },
        [&](const Run& run) {
          const RangeFlow& flow = flows[static_cast<size_t>(run.scale)];
          const float fraction = searched.clip != nullptr ? searched.clip[run.scale] : 1.0f;
          const bool free = flow.max - flow.min >= kLeastSpan;
          const float d = free ? fraction * static_cast<float>(flow.scale) / codes_.top() : 0.0f;
          AsymCodes::add_to_ends(x + run.at, n, flow, {-d, d}, out + run.at);
        });
    return {dw, {}};
  }

  /// What init() found, or null.
  struct Searched {
    const float* clip = nullptr;
    const float* zero = nullptr;
  };
  Searched searched() const {
    if (!clip_.defined())
      return {};
    return {clip_.const_data_ptr<float>(), zero_.const_data_ptr<float>()};
  }

  AsymGrid grid_of(const AsymExtent& full,
                   const Groups& groups,
                   const Searched& searched,
                   int64_t at) const {
    if (init_ == Init::kMean || init_ == Init::kGaussian)
      return codes_.mean_grid(init_, full, groups.weights_per_scale());
    const float whole = scale_of(full);
    if (searched.clip != nullptr)
      return {round_scale(searched.clip[at] * whole, codes_.scale_dtype()), searched.zero[at]};
    const float scale = round_scale(whole, codes_.scale_dtype());
    return {scale, config_.zero == "float" ? -full.min / scale : codes_.zero_of(full.min, scale)};
  }

  Config config_;
  Init init_;
  AsymCodes codes_;
  Tensor clip_;  // [N, G], set by init where the range is searched
  Tensor zero_;  // [N, G], likewise
};

}  // namespace

void add_minmax_asym(recipes::Registry<Quantizer>& r) {
  r.add<MinmaxAsym>("minmax_asym",
                    "integer zero point, scale from the range every step (arXiv:2306.00978)");
}

}  // namespace sterna::quant
