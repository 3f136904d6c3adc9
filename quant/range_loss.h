#pragma once

#include <vector>

#include "quant/quantizer.h"

namespace sterna::quant {

/// A loss on one weight matrix that keeps its range small, so that its quantizer wastes no level on
/// a few far weights (R2 loss, Kundu et al., arXiv:2303.08253). One object per matrix; on the
/// master, not on what it is rounded to.
class RangeLoss {
 public:
  virtual ~RangeLoss() = default;

  /// Sets what is learned by a weight, once, before the first run().
  /// @param w  fp32 [N, K]
  virtual void init(const Tensor& w) { (void)w; }

  struct Result {
    double loss = 0;
    Tensor w;                    ///< fp32 [N, K]: gradient for the weight
    std::vector<Tensor> params;  ///< fp32, in the order and shapes of parameters()
  };

  /// @param w  fp32 [N, K], contiguous, at least one weight; the gradient lies where it does, while
  ///           parameters stay in host memory
  virtual Result run(const Tensor& w) const = 0;

  /// Trainable tensors, fp32 [1], shared and not copied; a checkpoint holds them as
  /// "<tensor>.range.<name>".
  virtual std::vector<NamedTensor> parameters() { return {}; }
};

/// Every loss on weights that a recipe may name. To add one: quant/<name>.cpp, a line each in
/// range_losses.cpp's two lists and in CMakeLists.txt, a test; tests/quant/range_loss_test.cpp
/// covers it unedited against finite differences.
const recipes::Registry<RangeLoss>& range_losses();

}  // namespace sterna::quant
