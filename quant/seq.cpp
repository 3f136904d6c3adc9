// Stretched elastic quantization (SEQ) with a learned scale (ParetoQ, arXiv:2502.02631).
//
//   a   = max(alpha, 1e-5),  v = w / a
//   u   = clamp(v, -0.99, 0.99)
//   wq  = a (round(u n - h) + h) / n        four levels: n = 2, h = 0.5;  three: n = 1.5, h = 0
//   dw  = g [|v| <= 0.99]
//   da  = sum of g t / sqrt(numel(W)),  t = +-T beyond, wq / a - v within;  T = 0.75, or three: 1
//
// Four levels are +-a/4 and +-3a/4: zero is not one of them, weights of 0 become +a/4. The gradient
// of alpha passes the floor unmasked, numel counts the whole matrix, and T = 1 at three levels
// although the outer level is 2a/3: all three as published; saturation = "exact" takes T = 2/3.
// Our group > 0 gives every group an alpha. The step (a/2, or a/1.5) is rounded to `scale_dtype`,
// straight through, and `a` above is that step times n; "fp32" gives the published values.

#include <cmath>
#include <string>

#include "kernels/codes.h"
#include "kernels/row_reduce.h"
#include "quant/groups.h"
#include "quant/quantizer.h"
#include "quant/scale.h"

namespace sterna::quant {
namespace {

constexpr float kFloor = 1e-5f;

struct Extent {
  float abs_max = 0;
  double sum_abs = 0;
  void merge(const Extent& other) {
    abs_max = std::max(abs_max, other.abs_max);
    sum_abs += other.sum_abs;
  }
};

struct Flow {
  double alpha = 0;
  void merge(const Flow& other) { alpha += other.alpha; }
};

class Seq final : public Quantizer {
 public:
  struct Config {
    int64_t bits = 2;
    int64_t group = 0;
    std::string init = "absmax";
    std::string saturation = "official";
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits",
        bits,
        "2: four levels; 0: three levels, as ParetoQ calls ternary; 1 is not offered",
        recipes::Range<int64_t>{0, 2});
      visit_group(v, group);
      visit_init(v, init);
      v("saturation",
        saturation,
        "scale's gradient beyond the grid at three levels: 1 (official) or 2/3 (exact)",
        recipes::OneOf{"official", "exact"});
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Seq(const Config& config)
      : config_(config), init_(parse_init(config.init)), dtype_(parse_dtype(config.scale_dtype)) {
    if (config.bits == 1) {
      throw recipes::UserError(
          "seq: bits = 1 is not offered; choose 2 (four levels) or 0 (three levels)");
    }
    if (config.bits == 0) {
      grid_ = {1.0f, 1.5f, 0.0f, config.saturation == "exact" ? 2.0f / 3.0f : 1.0f};
    }
  }

  void allocate(const Tensor& w) override {
    alpha_ = at::ones(Groups("seq", w, config_.group).scales_shape());
  }

  void init(const Tensor& w) override {
    allocate(w);
    const Groups groups("seq", w, config_.group);
    auto* alpha = alpha_.mutable_data_ptr<float>();
    const float* x = w.const_data_ptr<float>();
    const int64_t n = groups.length();
    const auto measure = [&](const Run& run) {
      const kernels::MinMax ends = kernels::min_max(x + run.at, n);
      return Extent{std::max(-ends.min, ends.max), kernels::sum_abs(x + run.at, n, HUGE_VALF)};
    };
    if (groups.whole()) {
      const auto settle = [&](const Extent& full, int64_t at) {
        alpha[at] = first_alpha(full, w.numel(), [&](const kernels::StretchedGrid& grid) {
          return groups.total(
              [&](const Run& run) { return kernels::stretched_error(x + run.at, n, grid); });
        });
      };
      groups.by_scale(measure, settle, [](const Run&) {});
      return;
    }
    groups.each([&](const Run& run) {
      alpha[run.scale] = first_alpha(measure(run), n, [&](const kernels::StretchedGrid& grid) {
        return kernels::stretched_error(x + run.at, n, grid);
      });
    });
  }

  Encoded encode(const Tensor& w) const override {
    const Groups groups("seq", w, config_.group);
    check_ready(groups);
    Encoded e = groups.encoded(bits(), config_.bits == 2 ? -2 : -1, dtype_);
    e.offset = -static_cast<double>(grid_.shift);
    const float* x = w.const_data_ptr<float>();
    auto* codes = e.codes.mutable_data_ptr<int8_t>();
    auto* scales = e.scales.mutable_data_ptr<float>();
    const float* alpha = alpha_.const_data_ptr<float>();
    for (int64_t at = 0; at < alpha_.numel(); ++at)
      scales[at] = step(alpha[at]);
    groups.each([&](const Run& run) {
      const auto grid = grid_in_use(alpha[run.scale]);
      kernels::stretched_codes(x + run.at, groups.length(), grid, codes + run.at);
    });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    const Groups groups("seq", w, config_.group);
    check_ready(groups);
    Gradients result{at::empty_like(w), {at::zeros_like(alpha_)}};
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    const float* alpha = alpha_.const_data_ptr<float>();
    auto* dw = result.w.mutable_data_ptr<float>();
    auto* dalpha = result.params[0].mutable_data_ptr<float>();
    const double grad_scale = 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(w.numel(), 1)));
    const auto measure = [&](const Run& run) {
      return Flow{kernels::stretched_gradient(
          x + run.at, g + run.at, groups.length(), grid_in_use(alpha[run.scale]), dw + run.at)};
    };
    const auto settle = [&](const Flow& flow, int64_t at) {
      dalpha[at] = static_cast<float>(flow.alpha * grad_scale);
    };
    groups.by_scale(measure, settle, [](const Run&) {});
    return result;
  }

  std::vector<NamedTensor> parameters() override { return {{"scale", alpha_}}; }

  int64_t max_levels() const override { return config_.bits == 2 ? 4 : 3; }
  int64_t bits() const override { return 2; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }
  bool by_row(int64_t) const override { return false; }  // da counts the weights of the matrix

 private:
  float step(float alpha) const {
    return round_scale(std::max(alpha, kFloor) / grid_.steps, dtype_);
  }

  kernels::StretchedGrid grid_in_use(float alpha) const {
    kernels::StretchedGrid grid = grid_;
    // Division and product by 1.5 need not cancel in fp32; alpha itself keeps published ties.
    grid.alpha = dtype_ == at::kFloat ? std::max(alpha, kFloor) : step(alpha) * grid_.steps;
    return grid;
  }

  template <class Error>
  float first_alpha(const Extent& full, int64_t weights, const Error& error) const {
    // Largest range that can pay: the outer level reaches the largest weight.
    constexpr float kWidest = 1.5f;
    if (init_ == Init::kMean || init_ == Init::kGaussian) {
      const double count = static_cast<double>(std::max<int64_t>(weights, 1));
      return mean_step(init_, max_levels()) * grid_.steps *
             static_cast<float>(full.sum_abs / count);
    }
    if (init_ == Init::kAbsmax)
      return full.abs_max;
    const float fraction = search_fraction(
        init_, kWidest, [&](float tried) { return error(grid_in_use(tried * full.abs_max)); });
    return fraction * full.abs_max;
  }

  void check_ready(const Groups& groups) const {
    TORCH_CHECK(alpha_.defined(), "seq: init() must come before encode()");
    TORCH_CHECK(alpha_.sizes() == at::IntArrayRef(groups.scales_shape()),
                "seq: init() saw a matrix with scales ",
                alpha_.sizes(),
                ", this one has ",
                groups.scales_shape());
  }

  Config config_;
  Init init_;
  at::ScalarType dtype_;
  kernels::StretchedGrid grid_;
  Tensor alpha_;  // fp32 [N, G]
};

}  // namespace

void add_seq(recipes::Registry<Quantizer>& r) {
  r.add<Seq>("seq", "2-bit or ternary with a learned scale (ParetoQ, arXiv:2502.02631)");
}

}  // namespace sterna::quant
