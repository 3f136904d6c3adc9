// BitDistiller's 3-bit NormalFloat (arXiv:2402.10631): four levels above zero times the largest
// weight of a group, three below times the least one's magnitude.
//
//   u  = w / max(w) where w >= 0, else w / |min(w)|
//   wq = nearest of {0, .18334, .38199, .62299, 1}, {0, -.24693, -.53502, -1}, times that scale
//   dw = g
//
// The published code differentiates through both scales, official_range_gradient: the largest
// weight gets + sum of g (level - u) over w >= 0, the least one - the same over w < 0, in equal
// shares. It is 0/0 where a group's largest or least weight is 0; here such a side holds zeros
// only.

#include <algorithm>
#include <cmath>
#include <string>

#include "quant/asym.h"
#include "quant/levels.h"

namespace sterna::quant {
namespace {

const LevelTable& table() {
  static const LevelTable levels(
      {-1.0f, -0.53502f, -0.24693f, 0.0f, 0.18334f, 0.38199f, 0.62299f, 1.0f}, Ties::kLower);
  return levels;
}

class Nf3Sided final : public Quantizer {
 public:
  struct Config {
    int64_t group = 64;
    bool official_range_gradient = false;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      visit_group(v, group);
      v("official_range_gradient",
        official_range_gradient,
        "gradient through both scales to the largest and the least weight, as published");
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Nf3Sided(const Config& config)
      : config_(config), dtype_(parse_dtype(config.scale_dtype)) {}

  Encoded encode(const Tensor& w) const override {
    const Groups groups = this->groups(w);
    Encoded e = groups.encoded(/*bits=*/3, /*code_min=*/0, dtype_);
    e.grid = Grid::kLevels;
    e.levels = at::tensor(table().levels);
    e.scales_below = at::ones_like(e.scales);
    const float* x = w.const_data_ptr<float>();
    auto* codes = e.codes.mutable_data_ptr<int8_t>();
    auto* above = e.scales.mutable_data_ptr<float>();
    auto* below = e.scales_below.mutable_data_ptr<float>();
    groups.by_scale([&](const Run& run) { return moments(x + run.at, groups.length()); },
                    [&](const Moments& m, int64_t at) {
                      above[at] = round_scale(std::max(m.max, 0.0f), dtype_);
                      below[at] = round_scale(std::max(-m.min, 0.0f), dtype_);
                    },
                    [&](const Run& run) {
                      for (int64_t i = run.at; i < run.at + groups.length(); ++i)
                        codes[i] = code_of(x[i] / (x[i] < 0 ? below : above)[run.scale]);
                    });
    return e;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    if (!config_.official_range_gradient)
      return {gwq, {}};
    const Groups groups = this->groups(w);
    const Encoded e = encode(w);
    std::vector<Ends> ends(static_cast<size_t>(groups.scales()));
    Tensor dw = gwq.clone();
    const float* x = w.const_data_ptr<float>();
    auto* out = dw.mutable_data_ptr<float>();
    groups.by_scale([&](const Run& run) { return flow(e, w, gwq, run); },
                    [&](const Ends& found, int64_t at) { ends[static_cast<size_t>(at)] = found; },
                    [&](const Run& run) {
                      const Ends& d = ends[static_cast<size_t>(run.scale)];
                      AsymCodes::add_to_ends(
                          x + run.at,
                          groups.length(),
                          d.range,
                          {static_cast<float>(-d.below), static_cast<float>(d.above)},
                          out + run.at);
                    });
    return {dw, {}};
  }

  int64_t max_levels() const override { return 8; }
  int64_t bits() const override { return 3; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }

 private:
  struct Ends {
    RangeFlow range;
    double above = 0;  // gradients of the two scales
    double below = 0;
    void merge(const Ends& other) {
      range.merge(other.range);
      above += other.above;
      below += other.below;
    }
  };

  Groups groups(const Tensor& w) const { return {"nf3_sided", w, config_.group}; }

  static int8_t code_of(float u) {
    int code = 0;
    for (const float threshold : table().thresholds)
      code += u > threshold ? 1 : 0;
    return static_cast<int8_t>(code);
  }

  /// Sums in fp64, one weight after the other.
  static Ends flow(const Encoded& e, const Tensor& w, const Tensor& gwq, const Run& run) {
    const float* x = w.const_data_ptr<float>() + run.at;
    const float* g = gwq.const_data_ptr<float>() + run.at;
    const auto* codes = e.codes.const_data_ptr<int8_t>() + run.at;
    Ends ends;
    ends.range = AsymCodes::ends_of(x, e.group);
    for (int64_t i = 0; i < e.group; ++i) {
      const Tensor& scales = x[i] < 0 ? e.scales_below : e.scales;
      const double u = x[i] / scales.const_data_ptr<float>()[run.scale];
      const double term = g[i] * (table().levels[static_cast<size_t>(codes[i])] - u);
      (x[i] < 0 ? ends.below : ends.above) += term;
    }
    return ends;
  }

  Config config_;
  at::ScalarType dtype_;
};

}  // namespace

void add_nf3_sided(recipes::Registry<Quantizer>& r) {
  r.add<Nf3Sided>("nf3_sided", "3-bit NormalFloat, a scale for either sign (BitDistiller)");
}

}  // namespace sterna::quant
