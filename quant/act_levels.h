#pragma once

#include <functional>

#include <ATen/ATen.h>

#include "kernels/fake_quantize.h"
#include "kernels/row_reduce.h"
#include "recipes/recipe.h"

namespace sterna::quant {

using at::Tensor;

/// What every activation quantizer's recipe may say of its levels.
struct ActLevelsConfig {
  int64_t bits = 8;
  bool symmetric = true;
  double clip_val = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("bits", bits, "bits of a code", recipes::Range<int64_t>{2, 8});
    v("symmetric", symmetric, "levels -top..top; else integers over the range, 0 among them");
    v("clip_val",
      clip_val,
      "activations are clipped to +- this, and pass no gradient from there on; 0: not clipped",
      recipes::Range<double>{0.0, 1e30});
  }
};

/// Published forms that differ from ours.
struct ActOfficial {
  bool eps = false;        ///< LLM-QAT
  bool norm = false;       ///< TernaryBERT's AsymQuantizer
  bool short_end = false;  ///< I-BERT
};

/// Levels as a function of the range that they cover.
class ActLevels {
 public:
  explicit ActLevels(const ActLevelsConfig& config, const ActOfficial& official = {});

  /// The grid over a range. @param range  of the activations, not clipped yet
  kernels::ActGrid grid(kernels::MinMax range) const;

  /// What the kernels make of an activation over the grids of its ranges, by operations on whole
  /// tensors: for activations that are not in host memory.
  /// @param least, largest  fp32, one of each scale, of shapes that go with x's
  Tensor rounded_there(const Tensor& x, const Tensor& least, const Tensor& largest) const;

  int64_t count() const;
  int64_t bits() const { return config_.bits; }
  float clip() const { return clip_; }  ///< Inf where nothing is clipped

 private:
  kernels::ActGrid symmetric(float reach) const;
  kernels::ActGrid over(float least, float largest) const;
  Tensor symmetric_there(const Tensor& x, const Tensor& reach) const;
  Tensor over_there(const Tensor& x, const Tensor& least, const Tensor& largest) const;

  ActLevelsConfig config_;
  ActOfficial official_;
  float clip_;
};

/// One token: x and g [K] as floats, g null where none was given; out [K] receives the result.
using TokenBody = std::function<void(const float* x, const float* g, float* out)>;

/// Calls `body` for every token, in parallel. @return  what it wrote, in the dtype of x
/// @param g  of the shape of x, or undefined
Tensor map_tokens(const Tensor& x, const Tensor& g, const TokenBody& body);

/// The grid over each token's own range. @param x  [tokens, K]
std::vector<kernels::ActGrid> grids_of_tokens(const ActLevels& levels,
                                              const float* x,
                                              int64_t tokens,
                                              int64_t k);

/// Of a whole tensor; zeros where it is empty.
kernels::MinMax range_of(const Tensor& x);

/// g where `kept`, else 0.
Tensor gradient_where(const Tensor& kept, const Tensor& g);

/// g where |x| < clip, else 0.
Tensor gradient_within(const Tensor& x, const Tensor& g, float clip);

}  // namespace sterna::quant
