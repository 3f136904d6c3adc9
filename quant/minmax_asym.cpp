// Asymmetric groups with an integer zero point (AWQ, arXiv:2306.00978; TSLD, arXiv:2308.06744).
//
//   scale = max(max(w) - min(w), 1e-5) / (2^bits - 1)      per group, row or matrix, every step
//   zero  = clamp(-round(min(w) / scale), 0, 2^bits - 1)
//   wq    = (clamp(round(w / scale) + zero, 0, 2^bits - 1) - zero) * scale
//   dw    = g
//
// Zero is always a level; codes saturate where all weights of a group have one sign. The published
// rule is init = "absmax"; "mse" shrinks every range once, at init, to the least squared error, and
// keeps that fraction and that zero point while the range follows the weight.

#include <cmath>
#include <string>

#include "kernels/row_reduce.h"
#include "quant/asym.h"
#include "quant/quantizer.h"

namespace sterna::quant {
namespace {

constexpr float kLeastRange = 1e-5f;

class MinmaxAsym final : public Quantizer {
 public:
  struct Config : AsymConfig {
    Config() : AsymConfig{.bits = 4} {}
  };

  explicit MinmaxAsym(const Config& config)
      : config_(config),
        init_(parse_init(config.init)),
        codes_(config.bits, parse_dtype(config.scale_dtype)) {}

  void allocate(const Tensor& w) override {
    if (init_ != Init::kMse)
      return;
    const Groups groups("minmax_asym", w, config_.group);
    clip_ = at::ones(groups.scales_shape());
    zero_ = at::zeros(groups.scales_shape());
  }

  void init(const Tensor& w) override {
    if (init_ != Init::kMse)
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
        const AsymExtent full = codes_.extent(x + run.at, n);
        keep(codes_.search(full,
                           scale_of(full),
                           [&](const kernels::UniformGrid& grid) {
                             return kernels::uniform_error(x + run.at, n, grid);
                           }),
             run.scale);
      });
      return;
    }
    const auto settle = [&](const AsymExtent& full, int64_t at) {
      keep(codes_.search(full,
                         scale_of(full),
                         [&](const kernels::UniformGrid& grid) {
                           return groups.total([&](const Run& run) {
                             return kernels::uniform_error(x + run.at, n, grid);
                           });
                         }),
           at);
    };
    groups.by_scale(
        [&](const Run& run) { return codes_.extent(x + run.at, n); }, settle, [](const Run&) {});
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
          AsymExtent full = codes_.extent(x + run.at, n);
          if (init_ == Init::kMean) {
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
    (void)w;
    return {gwq, {}};
  }

  std::vector<NamedTensor> buffers() override {
    if (!clip_.defined())
      return {};
    return {{"clip", clip_}, {"zero", zero_}};
  }

  int64_t max_levels() const override { return int64_t{1} << config_.bits; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override {
    return config_.group < 0 ? 0 : config_.group == 0 ? k : config_.group;
  }

 private:
  float scale_of(const AsymExtent& full) const {
    return std::max(full.max - full.min, kLeastRange) / codes_.top();
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
    if (init_ == Init::kMean)
      return codes_.mean_grid(full, groups.weights_per_scale());
    const float whole = scale_of(full);
    if (searched.clip != nullptr)
      return {round_scale(searched.clip[at] * whole, codes_.scale_dtype()), searched.zero[at]};
    const float scale = round_scale(whole, codes_.scale_dtype());
    return {scale, std::clamp(-std::rint(full.min / scale), 0.0f, codes_.top())};
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
