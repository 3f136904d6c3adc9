#pragma once

#include "quant/adapter.h"
#include "quant/encoded.h"

namespace sterna::quant {

/// A frozen matrix in its codes' own bits, decoded for each product and forgotten: for models of
/// which only the answers are wanted. As the adapter of a Linear whose weight is empty [0, K], it
/// is all of the product.
class Packed final : public Adapter {
 public:
  /// @param encoded  of at most 8 bits a code
  explicit Packed(Encoded encoded);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t bytes() const;

  /// What it is made of, into this object; a first dimension each, of whatever length.
  std::vector<Tensor*> tensors();

  /// decode() of what was packed, [N, K].
  Tensor decode(at::ScalarType dtype) const;

  void attach(const std::string& name, int64_t n, int64_t k) override;
  Tensor forward(const Tensor& x) const override;
  std::vector<AdapterMatrix> matrices() override { return {}; }
  std::vector<Tensor> initial(uint64_t) const override { return {}; }
  Tensor delta() const override { return decode(at::kFloat); }

 private:
  Encoded encoded_;  // without codes
  Tensor packed_;    // uint8, quant/pack.h
  int64_t outputs_;
  int64_t inputs_;
};

}  // namespace sterna::quant
