#pragma once

#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "kernels/fake_quantize.h"
#include "quant/quantizer.h"

namespace sterna::quant {

/// Rounds activations to few levels where a model computes with them: the inputs of a linear layer,
/// keys, or values. One object per site; what a site has learned is its own.
///
/// A token is a vector along the last dimension. Every registered one obeys, and
/// tests/quant/act_quantizer_contract_test.cpp checks: shape and dtype stay; no scale serves more
/// than levels() different values; rounding what is rounded changes nothing but the last bits;
/// zeros stay finite; NaN stays NaN; the number of threads changes nothing; backward is linear in
/// g.
class ActQuantizer {
 public:
  virtual ~ActQuantizer() = default;

  /// @param x  fp32, bf16 or fp16 [..., K], on the CPU or on a device
  /// @return   the same shape and dtype; scales are computed and applied in fp32
  virtual Tensor forward(const Tensor& x) = 0;

  /// Gradient for x, of which a graph keeps nothing else: a mask, if anything, is made again.
  /// @param g  gradient for forward(x), of x's shape and dtype
  virtual Tensor backward(const Tensor& x, const Tensor& g) const {
    (void)x;
    return g;
  }

  /// False where backward() gives g itself, so that x need not be kept for it.
  virtual bool masks_gradient() const { return false; }

  /// Different values that one scale serves: 255 for symmetric 8 bits.
  virtual int64_t levels() const = 0;

  virtual int64_t bits() const = 0;

  /// What was learned, fp32; shared, not copied. Checkpoints and exports store and restore it in
  /// place, as "<site>.act.<name>".
  virtual std::vector<NamedTensor> buffers() { return {}; }

  /// False while nothing was learned yet of what the scale shall come from.
  virtual bool ready() const { return true; }

  /// True for scales that are learned from the activations of training steps. Between
  /// start_step() and end_step() forward() looks at what it gets, in whichever order and how often
  /// the same; a step that is dropped is never ended.
  virtual bool learns() const { return false; }
  virtual void start_step() {}

  /// Least and largest activation since start_step(), fp32 [2]; +Inf and -Inf where there was none.
  virtual Tensor seen() const { return {}; }

  /// @param seen  as seen(), of all ranks together
  virtual void end_step(const Tensor& seen) { (void)seen; }

  /// The grid that forward() rounds each token to, for products of integers; none where it has to
  /// see more than these tokens.
  /// @param x  [tokens, K]: the same values that forward() gets, whatever their dtype
  virtual std::vector<kernels::ActGrid> grids(const float* x, int64_t tokens, int64_t k) const {
    (void)x, (void)tokens, (void)k;
    return {};
  }
};

/// Every activation quantizer that a recipe may name.
const recipes::Registry<ActQuantizer>& act_quantizers();

/// act->forward(x) with its gradient, under autograd.
Tensor fake_quantize(const std::shared_ptr<ActQuantizer>& act, const Tensor& x);

}  // namespace sterna::quant
