// dINT: integers with two half steps beside zero (AQAS, EMNLP 2023, arXiv:2311.05161).
//
//   symmetric:  s = max|w| / R, R = 2^(bits-1) - 2        wq = s * nearest of -R .. R and +-1/2
//   asymmetric: p = 2^bits - 3, s = (max - min) / p with min <= 0 <= max,
//               z = clamp(round(-min / s), 0, p)          wq = s * nearest of -z .. p - z and +-1/2
//   dw = g
//
// The paper confirms two codes that decode to half a step; the text we could read names neither
// their bit patterns nor p. R and p are the largest that leave both codes free, and codes here
// count the levels from below. A group's zero point chooses its row of the table of levels. Ties go
// to the integer, of two integers to the even one.

#include <algorithm>
#include <cmath>

#include "quant/levels.h"

namespace sterna::quant {
namespace {

/// Integers `from` .. `to` and +-1/2.
LevelTable half_stepped(int64_t from, int64_t to) {
  std::vector<float> levels{-0.5f, 0.5f};
  for (int64_t i = from; i <= to; ++i)
    levels.push_back(static_cast<float>(i));
  std::sort(levels.begin(), levels.end());
  return {levels, Ties::kEven};
}

std::vector<LevelTable> tables_of(int64_t bits, bool symmetric) {
  if (symmetric) {
    const int64_t reach = (int64_t{1} << (bits - 1)) - 2;
    return {half_stepped(-reach, reach)};
  }
  const int64_t integers = (int64_t{1} << bits) - 3;
  std::vector<LevelTable> tables;
  for (int64_t zero = 0; zero <= integers; ++zero)
    tables.push_back(half_stepped(-zero, integers - zero));
  return tables;
}

class Dint final : public LevelQuantizer {
 public:
  struct Config {
    int64_t bits = 4;
    bool symmetric = false;
    int64_t group = 0;
    std::string init = "absmax";
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "bits of a code", recipes::Range<int64_t>{3, 4});
      v("symmetric", symmetric, "as many integers below zero as above, one code unused");
      visit_group(v, group);
      v("init",
        init,
        "range: all weights, least squared error, BitDistiller's search",
        kLevelInits);
      v("scale_dtype", scale_dtype, "what scales are rounded to", kScaleDtypes);
    }
  };

  explicit Dint(const Config& config)
      : LevelQuantizer({"dint", config.bits, config.group, config.init, config.scale_dtype},
                       tables_of(config.bits, config.symmetric)),
        symmetric_(config.symmetric),
        top_(static_cast<float>(config.symmetric ? (int64_t{1} << (config.bits - 1)) - 2
                                                 : (int64_t{1} << config.bits) - 3)),
        dtype_(parse_dtype(config.scale_dtype)) {}

 protected:
  Fit fit(const Moments& m, float clip) const override {
    if (symmetric_)
      return {clip * m.abs_max() / top_, 0};
    const float min = clip * std::min(m.min, 0.0f);
    const float max = clip * std::max(m.max, 0.0f);
    const float scale = round_scale((max - min) / top_, dtype_);
    const float zero = std::clamp(std::rint(-min / scale), 0.0f, top_);
    return {scale, static_cast<size_t>(zero)};
  }

 private:
  bool symmetric_;
  float top_;  // largest integer
  at::ScalarType dtype_;
};

}  // namespace

void add_dint(recipes::Registry<Quantizer>& r) {
  r.add<Dint>("dint", "integers and two half steps beside zero (AQAS, arXiv:2311.05161)");
}

}  // namespace sterna::quant
