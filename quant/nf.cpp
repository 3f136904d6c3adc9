// NormalFloat (QLoRA, arXiv:2305.14314; its 2- and 3-bit tables as LoftQ, arXiv:2310.08659, builds
// them): levels at quantiles of a Gaussian, scaled by the largest weight of a group.
//
//   c = 0.9677083, P the inverse normal distribution, h = 2^(bits-1)
//   levels: P(c .. 1/2 in h equal steps, the last left out), -P(c .. 1/2 in h - 1 steps, likewise),
//   and 0, all divided by P(c)
//   scale = max|w|,  wq = scale * nearest level,  dw = g
//
// Zero is a level, and there is one more above it than below. Scales are not quantized a second
// time.

#include "quant/levels.h"

namespace sterna::quant {
namespace {

LevelTable table_of(int64_t bits) {
  if (bits == 2)
    return {{-1.0f, 0.0f, 0.3379152f, 1.0f}, Ties::kLower};
  if (bits == 3)
    return {{-1.0f, -0.4786292f, -0.2171418f, 0.0f, 0.1609302f, 0.3379152f, 0.5626170f, 1.0f},
            Ties::kLower};
  return {{-1.0f,
           -0.6961928f,
           -0.5250731f,
           -0.3949175f,
           -0.2844414f,
           -0.1847734f,
           -0.0910500f,
           0.0f,
           0.0795803f,
           0.1609302f,
           0.2461123f,
           0.3379152f,
           0.4407098f,
           0.5626170f,
           0.7229568f,
           1.0f},
          Ties::kLower};
}

class Nf final : public LevelQuantizer {
 public:
  struct Config {
    int64_t bits = 4;
    int64_t group = 64;
    std::string init = "absmax";
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code", recipes::Range<int64_t>{2, 4});
      visit_group(v, group);
      v("init",
        init,
        "range: all weights, least squared error, BitDistiller's search",
        kLevelInits);
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Nf(const Config& config)
      : LevelQuantizer({"nf", config.bits, config.group, config.init, config.scale_dtype},
                       {table_of(config.bits)}) {}

 protected:
  Fit fit(const Moments& m, float clip) const override { return {clip * m.abs_max(), 0}; }
};

}  // namespace

void add_nf(recipes::Registry<Quantizer>& r) {
  r.add<Nf>("nf", "levels at quantiles of a Gaussian (QLoRA, arXiv:2305.14314)");
}

}  // namespace sterna::quant
