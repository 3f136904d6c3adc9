// Learned scale and zero point (EfficientQAT, arXiv:2407.11062).
//
//   s  = clamp(scale, 1e-4, 1e4)            gradient of scale: that of s
//   z  = clamp(round(zero), 0, Q)           gradient of zero: that of z; Q = 2^bits - 1
//   v  = round(w / s) + z,  q = clamp(v, 0, Q),  wq = (q - z) * s
//   dw = g [0 <= v <= Q]
//   ds = sum of g ((q - z) - [0 <= v <= Q] w / s)      dz = -s * sum of g over v outside 0 .. Q
//
// As published, but s is also rounded to `scale_dtype` (straight through), so that training,
// evaluation and export use one scale; "fp32" gives the published values.

#include <cmath>
#include <string>

#include "kernels/row_reduce.h"
#include "quant/asym.h"
#include "quant/quantizer.h"

namespace sterna::quant {
namespace {

constexpr float kLeastScale = 1e-4f;
constexpr float kMostScale = 1e4f;

struct Flow {
  double scale = 0;
  double outside = 0;
  void merge(const Flow& other) {
    scale += other.scale;
    outside += other.outside;
  }
};

class AffineLearned final : public Quantizer {
 public:
  struct Config : AsymConfig {
    Config() : AsymConfig{.bits = 2} {}
  };

  explicit AffineLearned(const Config& config)
      : config_(config),
        init_(parse_init(config.init)),
        codes_(config.bits, parse_dtype(config.scale_dtype)) {}

  void allocate(const Tensor& w) override {
    const Groups groups("affine_learned", w, config_.group);
    scale_ = at::ones(groups.scales_shape());
    zero_ = at::zeros(groups.scales_shape());
  }

  void init(const Tensor& w) override {
    allocate(w);
    const Groups groups("affine_learned", w, config_.group);
    auto* scale = scale_.mutable_data_ptr<float>();
    auto* zero = zero_.mutable_data_ptr<float>();
    const float* x = w.const_data_ptr<float>();
    const int64_t n = groups.length();
    const auto keep = [&](const AsymGrid& grid, int64_t at) {
      scale[at] = grid.scale;
      zero[at] = grid.zero;
    };
    const auto measure = [&](const Run& run) {
      AsymExtent full = codes_.extent(x + run.at, n);
      full.sum = kernels::sum(x + run.at, n);
      full.sum_abs = kernels::sum_abs(x + run.at, n, HUGE_VALF);
      return full;
    };
    if (groups.whole()) {
      const auto settle = [&](const AsymExtent& full, int64_t at) {
        keep(first_grid(full,
                        w.numel(),
                        [&](const kernels::UniformGrid& grid) {
                          return groups.total([&](const Run& run) {
                            return kernels::uniform_error(x + run.at, n, grid);
                          });
                        }),
             at);
      };
      groups.by_scale(measure, settle, [](const Run&) {});
      return;
    }
    groups.each([&](const Run& run) {
      keep(first_grid(measure(run),
                      n,
                      [&](const kernels::UniformGrid& grid) {
                        return kernels::uniform_error(x + run.at, n, grid);
                      }),
           run.scale);
    });
  }

  Encoded encode(const Tensor& w) const override {
    const Groups groups("affine_learned", w, config_.group);
    check_ready(groups);
    Encoded e = codes_.encoded(groups);
    const float* x = w.const_data_ptr<float>();
    const AsymCodes::Target to = AsymCodes::target(e);
    const Learned learned = this->learned();
    if (groups.whole())
      codes_.set(to, 0, grid_in_use(learned, 0));
    groups.each([&](const Run& run) {
      if (!groups.whole())
        codes_.set(to, run.scale, grid_in_use(learned, run.scale));
      codes_.write(to, x, run, groups.length());
    });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    const Groups groups("affine_learned", w, config_.group);
    check_ready(groups);
    Gradients result{at::empty_like(w), {at::zeros_like(scale_), at::zeros_like(zero_)}};
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* dw = result.w.mutable_data_ptr<float>();
    auto* dscale = result.params[0].mutable_data_ptr<float>();
    auto* dzero = result.params[1].mutable_data_ptr<float>();
    const Learned learned = this->learned();
    const auto measure = [&](const Run& run) {
      const AsymGrid by = grid_in_use(learned, run.scale);
      const auto flow = kernels::uniform_gradient(
          x + run.at, g + run.at, groups.length(), codes_.grid(by.scale, by.zero), dw + run.at);
      return Flow{flow.scale, flow.outside};
    };
    const auto settle = [&](const Flow& flow, int64_t at) {
      dscale[at] = static_cast<float>(flow.scale);
      const double scale = grid_in_use(learned, at).scale;
      dzero[at] = static_cast<float>(-scale * flow.outside);
    };
    groups.by_scale(measure, settle, [](const Run&) {});
    return result;
  }

  std::vector<NamedTensor> parameters() override { return {{"scale", scale_}, {"zero", zero_}}; }

  int64_t max_levels() const override { return int64_t{1} << config_.bits; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  template <class Error>
  AsymGrid first_grid(const AsymExtent& full, int64_t weights, const Error& error) const {
    if (init_ == Init::kMean || init_ == Init::kGaussian)
      return codes_.mean_grid(init_, full, weights);
    const float whole = std::clamp((full.max - full.min) / codes_.top(), kLeastScale, kMostScale);
    if (searches(init_)) {
      const auto found = codes_.search(init_, full, whole, error);
      return {found.fraction * whole, found.zero};
    }
    return {whole, -std::rint(full.min / whole)};
  }

  struct Learned {
    const float* scale;
    const float* zero;
  };
  Learned learned() const {
    return {scale_.const_data_ptr<float>(), zero_.const_data_ptr<float>()};
  }

  AsymGrid grid_in_use(const Learned& learned, int64_t at) const {
    const float scale = std::clamp(learned.scale[at], kLeastScale, kMostScale);
    const float zero = std::rint(learned.zero[at]);
    return {round_scale(scale, codes_.scale_dtype()), std::clamp(zero, 0.0f, codes_.top())};
  }

  void check_ready(const Groups& groups) const {
    TORCH_CHECK(scale_.defined(), "affine_learned: init() must come before encode()");
    TORCH_CHECK(scale_.sizes() == at::IntArrayRef(groups.scales_shape()),
                "affine_learned: init() saw a matrix with scales ",
                scale_.sizes(),
                ", this one has ",
                groups.scales_shape());
  }

  Config config_;
  Init init_;
  AsymCodes codes_;
  Tensor scale_;  // fp32 [N, G]
  Tensor zero_;   // fp32 [N, G]
};

}  // namespace

void add_affine_learned(recipes::Registry<Quantizer>& r) {
  r.add<AffineLearned>("affine_learned",
                       "learned scale and zero point per group (EfficientQAT, arXiv:2407.11062)");
}

}  // namespace sterna::quant
