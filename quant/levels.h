#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quant/groups.h"
#include "quant/quantizer.h"
#include "quant/scale.h"
#include "quant/uniform.h"

namespace sterna::quant {

/// Where a value goes that lies in the middle between two levels.
enum class Ties {
  kLower,  ///< to the lower one
  kEven,   ///< to the one that is an integer; of two, to the even one
};

/// Ascending levels and what separates them.
struct LevelTable {
  std::vector<float> levels;
  std::vector<float> thresholds;  ///< level i + 1 begins above thresholds[i] (strictly)

  LevelTable(std::vector<float> ascending, Ties ties);
};

/// The rules that fit a table of levels.
inline const recipes::OneOf kLevelInits{"absmax", "mse", "clip_search"};

/// Levels of fixed tables times a scale that is taken from the weights every step: what `nf` and
/// `dint` are. dw = g. What a search shrinks the range by, once, is kept in buffers().
class LevelQuantizer : public Quantizer {
 public:
  struct Settings {
    std::string_view method;  ///< must outlive the quantizer
    int64_t bits = 4;
    int64_t group = 0;
    std::string init;
    std::string scale_dtype;
  };

  LevelQuantizer(const Settings& settings, std::vector<LevelTable> tables);

  void allocate(const Tensor& w) override;
  void init(const Tensor& w) override;
  Encoded encode(const Tensor& w) const override;
  Gradients backward(const Tensor& w, const Tensor& gwq) const override;
  std::vector<NamedTensor> buffers() override;

  int64_t max_levels() const override { return static_cast<int64_t>(tables_[0].levels.size()); }
  int64_t bits() const override { return settings_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(settings_.group, k); }

 protected:
  struct Fit {
    float scale = 1;  ///< unrounded
    size_t table = 0;
  };
  /// The fit to what shares a scale, its range taken `clip` times as wide.
  virtual Fit fit(const Moments& m, float clip) const = 0;

 private:
  double error(const float* w, int64_t n, const Fit& by) const;

  Settings settings_;
  Init init_;
  at::ScalarType dtype_;
  std::vector<LevelTable> tables_;
  Tensor levels_;  // fp32 [L], or [tables, L]
  Tensor clip_;    // fp32 [N, G], or undefined: 1 everywhere
};

}  // namespace sterna::quant
