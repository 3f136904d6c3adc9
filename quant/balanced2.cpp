// Balanced levels +-1/2, +-3/2 times a learned step, 2 bits (Apple foundation models 2025,
// arXiv:2507.13575). The report gives the levels and that clipping and scale are learned; the
// gradients here are LSQ's, quant/learned_step.h. Zero is no level: weights of 0 become +step / 2.

#include "quant/learned_step.h"

namespace sterna::quant {
namespace {

class Balanced2 final : public LearnedStep {
 public:
  struct Config {
    int64_t group = 0;
    std::string init = "gaussian";
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      visit_group(v, group);
      visit_init(v, init);
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Balanced2(const Config& config)
      : LearnedStep({"balanced2",
                     config.group,
                     config.init,
                     config.scale_dtype,
                     UniformLevels::balanced(/*bits=*/2)}) {}
};

}  // namespace

void add_balanced2(recipes::Registry<Quantizer>& r) {
  r.add<Balanced2>("balanced2", "2 bits: levels +-1/2, +-3/2 with a learned step (Apple, 2025)");
}

}  // namespace sterna::quant
