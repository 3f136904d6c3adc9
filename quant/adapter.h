#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "recipes/registry.h"

namespace sterna::quant {

using at::Tensor;

class ActQuantizer;

/// One trainable matrix of an adapter. The pointers lead into the adapter and stay valid as long as
/// it lives.
struct AdapterMatrix {
  std::string name;  ///< as PEFT calls it, behind the module's path: "lora_A.weight"
  std::vector<int64_t> shape;
  Tensor* value;  ///< compute dtype, no autograd history
  Tensor* grad;   ///< fp32; undefined where frozen. Backward adds to it in place
};

/// A small trainable correction of one linear layer whose own weight stays frozen at low bits:
/// y = x Wq^T + b + adapter(x). Its matrices are trained, saved and restored like every other
/// parameter of the model; merging adds delta() to the de-quantized weight.
///
/// Every registered adapter obeys, and tests/quant/adapter_contract_test.cpp checks: with its
/// initial values it changes nothing; forward(x) is x delta()^T; gradients equal autograd's.
class Adapter {
 public:
  virtual ~Adapter() = default;

  /// Gives the matrices their shapes; called once, before anything else.
  /// @param module  path of the linear layer, [n outputs, k inputs]
  /// @throws recipes::UserError  where the settings do not fit the layer
  virtual void attach(const std::string& module, int64_t n, int64_t k) = 0;

  virtual std::vector<AdapterMatrix> matrices() = 0;

  /// fp32 values before training, in the order of matrices(): a pure function of seed and module.
  virtual std::vector<Tensor> initial(uint64_t seed) const = 0;

  /// @param x  [..., K] in the dtype of the matrices
  /// @return   [..., N], to be added to the layer's output
  virtual Tensor forward(const Tensor& x) const = 0;

  /// fp32 [N, K]: what merging adds to the weight.
  virtual Tensor delta() const = 0;

  /// forward() of what `act` makes of x.
  virtual Tensor forward_rounded(const Tensor& x, const std::shared_ptr<ActQuantizer>& act) const;
};

/// Every adapter that a recipe may name.
const recipes::Registry<Adapter>& adapters();

}  // namespace sterna::quant
