// Learned step size (LSQ, arXiv:1902.08153) as ParetoQ (arXiv:2502.02631) uses it for 1, 3 and 4
// bits; formulas in quant/learned_step.h, integers -2^(bits-1) .. 2^(bits-1) - 1, -1 .. 1 for
// `bits = 0`.
//
// ParetoQ starts from init = "absmax" (1 bit: mean|w|, which every rule gives there), LSQ from
// "mean". At 1 bit sign(0) is +1; official_zero keeps ParetoQ's third value 0 and takes two bits.

#include "quant/learned_step.h"

namespace sterna::quant {
namespace {

UniformLevels levels_of(int64_t bits, bool zero) {
  if (bits == 0)
    return UniformLevels::symmetric(/*bits=*/2);
  if (bits == 1)
    return UniformLevels::signs(zero);
  const auto half = static_cast<float>(int64_t{1} << (bits - 1));
  return {bits, -half, half - 1, 0, false};
}

class Lsq final : public LearnedStep {
 public:
  struct Config {
    int64_t bits = 4;
    int64_t group = 0;
    std::string init = "absmax";
    bool official_zero = false;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits",
        bits,
        "bits of a code; 0: three levels, as ParetoQ calls ternary",
        recipes::Range<int64_t>{0, 8});
      visit_group(v, group);
      visit_init(v, init);
      v("official_zero", official_zero, "1 bit: weights of exactly 0 stay 0, a third level");
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Lsq(const Config& config)
      : LearnedStep({"lsq",
                     config.group,
                     config.init,
                     config.scale_dtype,
                     levels_of(config.bits, config.official_zero)}) {}
};

}  // namespace

void add_lsq(recipes::Registry<Quantizer>& r) {
  r.add<Lsq>("lsq", "integers with a learned step (LSQ, arXiv:1902.08153; ParetoQ)");
}

}  // namespace sterna::quant
