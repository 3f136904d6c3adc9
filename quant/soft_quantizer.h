#pragma once

#include "quant/quantizer.h"

namespace sterna::quant {

/// Where a stage of training stands.
struct Progress {
  int64_t step = 0;   ///< 0, 1, ...; skipped ones count
  int64_t steps = 0;  ///< of the whole stage

  bool over() const { return step >= steps; }
};

/// A quantizer that trains on values which are not hard yet: a soft assignment to clusters (DKM), a
/// map that grows steeper (PARQ).
///
/// The hard value, decode(encode(w)), stays what evaluation, checkpoints and exports see, at any
/// time, and what a frozen weight is in training. With the end of the stage the soft value turns
/// into it. tests/quant/soft_contract_test.cpp holds every registered one to that, and to
/// what it asks of backward() and of resumed runs.
class SoftQuantizer : public Quantizer {
 public:
  /// What a step of training computes with. Depends on w, on parameters() and buffers() and on
  /// `at`, and on nothing else, so that a resumed run goes on bit for bit.
  /// @param w  fp32 [N, K], as for encode()
  /// @return   fp32 [N, K]; undefined: the hard value
  virtual Tensor soft_value(const Tensor& w, const Progress& at) const = 0;

  /// backward() where soft_value() stood in for the hard value: gwq is the gradient for that.
  virtual Gradients soft_backward(const Tensor& w, const Tensor& gwq, const Progress& at) const {
    (void)at;
    return backward(w, gwq);
  }

  /// Moves what the scheme carries from step to step, in buffers(). Called at the end of every step
  /// that had a soft value, before the optimizer moves w; never for looking at the model.
  virtual void advance(const Tensor& w, const Progress& at) { (void)w, (void)at; }
};

/// `quantizer`, where it is one of these; else null.
inline SoftQuantizer* soft(Quantizer* quantizer) {
  return dynamic_cast<SoftQuantizer*>(quantizer);
}

}  // namespace sterna::quant
