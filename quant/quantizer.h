#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "quant/encoded.h"
#include "recipes/registry.h"

namespace sterna::quant {

/// A tensor with the name a checkpoint gives it behind "<tensor>.quant.".
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// What flows back through a quantizer.
struct Gradients {
  Tensor w;                    ///< fp32 [N, K]; gwq itself where the scheme lets it pass
  std::vector<Tensor> params;  ///< fp32, in the order and shapes of parameters()
};

/// Turns one weight matrix into few-level codes, for training, evaluation and export alike; owns
/// what it learns about that matrix (a step, a zero point). One object per matrix.
///
/// Every registered quantizer obeys, and tests/quant/quantizer_contract_test.cpp checks:
/// decode(encode(w)) is what training (but see SoftQuantizer) computes with, bit for bit; a zero
/// row gives finite values and gradients; a row holds at most max_levels() different codes; encode
/// does not depend on the number of threads; backward is linear and equals the autograd twin.
class Quantizer {
 public:
  virtual ~Quantizer() = default;

  /// Sets the learned tensors from a weight, which may take a search; called once, before the first
  /// encode(). A quantizer that learns nothing does nothing.
  /// @param w  fp32 [N, K], contiguous
  virtual void init(const Tensor& w) { allocate(w); }

  /// Gives parameters() and buffers() their shapes and nothing else, in no time: what a checkpoint
  /// is restored into, in place of init(). To be written where init() sets tensors.
  /// @param w  as for init(); its values are not looked at
  virtual void allocate(const Tensor& w) { (void)w; }

  /// @param w  fp32 [N, K] master weight, contiguous, finite
  virtual Encoded encode(const Tensor& w) const = 0;

  /// Runs once per optimizer step, after accumulation and reduction (contracts: at fixed w it is
  /// linear in gwq for every scheme).
  /// @param w    fp32 [N, K], the weight that encode() saw
  /// @param gwq  fp32 [N, K], gradient of the loss for decode(encode(w))
  virtual Gradients backward(const Tensor& w, const Tensor& gwq) const = 0;

  /// Trainable tensors, fp32, e.g. a learned step [N, G]. The tensors are shared, not copied: the
  /// optimizer updates them in place and checkpoints restore them in place.
  virtual std::vector<NamedTensor> parameters() { return {}; }

  /// Tensors that init() sets and at most advance() changes later, e.g. a searched clipping range.
  /// Checkpoints store and restore them in place, as they do parameters; the shapes follow from w.
  virtual std::vector<NamedTensor> buffers() { return {}; }

  /// How many different codes one row may hold: 3 for ternary, 15 for symmetric 4-bit.
  virtual int64_t max_levels() const = 0;

  /// Stored bits of one code; what `sterna check` prints.
  virtual int64_t bits() const = 0;

  /// Inputs per scale for a matrix of K inputs, or 0 where one scale serves the whole matrix.
  virtual int64_t group(int64_t k) const = 0;

  /// True where what becomes of a row of K inputs depends on that row alone: a quantizer of some
  /// rows then gives, bit for bit, those rows of what one of the whole matrix gives, and whatever
  /// it learns has its rows as first dimension. Such a matrix may be shared out among ranks.
  virtual bool by_row(int64_t k) const { return group(k) > 0; }
};

/// Every quantizer that a recipe may name.
const recipes::Registry<Quantizer>& quantizers();

}  // namespace sterna::quant
