#pragma once

#include <string>
#include <vector>

#include "quant/quantizer.h"
#include "quant/uniform.h"

namespace sterna::quant {

/// A uniform grid with a learned step (LSQ): what `lsq` and `balanced2` are.
///
///   s  = max(scale, 1e-5),  v = w / s,  lo, hi = the outermost levels / s
///   wq = s * level nearest to clamp(v, lo, hi)
///   dw = g [lo <= v <= hi]
///   ds = sum of g t / sqrt(numel(W) Q),  t = wq / s - v inside, lo or hi outside; Q = max(1, the
///        largest integer of the grid)
///
/// At 1 bit wq = s sign(w), t = sign(w) everywhere, and dw = g [|v| <= 1]. The gradient of scale
/// passes the floor; s is rounded to `scale_dtype`, straight through.
class LearnedStep : public Quantizer {
 public:
  struct Settings {
    std::string_view method;  ///< must outlive the quantizer
    int64_t group = 0;
    std::string init;
    std::string scale_dtype;
    UniformLevels levels;
  };

  explicit LearnedStep(const Settings& settings);

  void allocate(const Tensor& w) override;
  void init(const Tensor& w) override;
  Encoded encode(const Tensor& w) const override;
  Gradients backward(const Tensor& w, const Tensor& gwq) const override;
  std::vector<NamedTensor> parameters() override { return {{"scale", scale_}}; }

  int64_t max_levels() const override { return codes_.levels().count(); }
  int64_t bits() const override { return codes_.levels().bits; }
  int64_t group(int64_t k) const override { return codes_.group(k); }
  bool by_row(int64_t) const override { return false; }  // ds counts the weights of the matrix

 private:
  /// Levels lie `per_scale()` apart, in units of the parameter.
  float per_scale() const { return codes_.levels().sign ? 1 / codes_.levels().top() : 1.0f; }
  float step(float scale) const;

  Init init_;
  UniformCodes codes_;
  Tensor scale_;  // fp32 [N, G]
};

}  // namespace sterna::quant
