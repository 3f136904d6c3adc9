// Absmean ternary (BitNet b1.58, arXiv:2402.17764).
//
//   scale = max(mean|w|, 1e-5)           of the matrix, every step; our group > 0 and 0: of that
//   wq    = clamp(round(w / scale), -1, 1) * scale
//   dw    = g
//
// The published code multiplies by the reciprocal of the scale; we divide.

#include <algorithm>
#include <string>

#include "quant/quantizer.h"
#include "quant/uniform.h"

namespace sterna::quant {
namespace {

constexpr float kFloor = 1e-5f;

class Absmean final : public Quantizer {
 public:
  struct Config {
    int64_t group = -1;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      visit_group(v, group);
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Absmean(const Config& config)
      : codes_("absmean",
               config.group,
               parse_dtype(config.scale_dtype),
               UniformLevels::symmetric(/*bits=*/2)) {}

  Encoded encode(const Tensor& w) const override {
    return codes_.encode_measured(w,
                                  [](const Moments& m) { return std::max(m.mean_abs(), kFloor); });
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    (void)w;
    return {gwq, {}};
  }

  int64_t max_levels() const override { return 3; }
  int64_t bits() const override { return 2; }
  int64_t group(int64_t k) const override { return codes_.group(k); }

 private:
  UniformCodes codes_;
};

}  // namespace

void add_absmean(recipes::Registry<Quantizer>& r) {
  r.add<Absmean>("absmean", "ternary: scale = mean |w| (BitNet b1.58, arXiv:2402.17764)");
}

}  // namespace sterna::quant
