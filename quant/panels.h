#pragma once

#include <memory>

#include "kernels/packed_matrix.h"
#include "quant/adapter.h"
#include "quant/encoded.h"

namespace sterna::quant {

/// A frozen matrix in its codes' own bits, multiplied as it lies (kernels/matmul.h): for models of
/// which only the answers are wanted. As the adapter of a Linear whose weight is empty [0, K] it is
/// all of the product; nothing is differentiable.
///
/// What it gives is y = x W^T with W = decode() of what was packed, bit for bit, within the bounds
/// of kernels/matmul.h's matmul_a16; or, where the layer rounds its inputs to 8-bit integers of one
/// scale a token, exact integer sums of the codes of both (contracts: sum over groups of
/// float(integer sum) times (weight scale times activation scale)). Neither depends on the number
/// of threads.
class Panels final : public Adapter {
 public:
  /// Null where the kernels hold no such codes: these must be decoded.
  static std::shared_ptr<Panels> make(const Encoded& encoded);

  int64_t outputs() const { return matrix_.n; }
  int64_t inputs() const { return matrix_.k; }
  int64_t bytes() const { return static_cast<int64_t>(storage_.nbytes()); }

  /// decode() of what was packed, [N, K].
  Tensor decode(at::ScalarType dtype) const;

  /// Rows of it: [..., K] for int64 `ids` of any shape, each in [0, N).
  Tensor rows(const Tensor& ids, at::ScalarType dtype) const;

  void attach(const std::string& name, int64_t n, int64_t k) override;
  Tensor forward(const Tensor& x) const override;
  Tensor forward_rounded(const Tensor& x, const std::shared_ptr<ActQuantizer>& act) const override;
  std::vector<AdapterMatrix> matrices() override { return {}; }
  std::vector<Tensor> initial(uint64_t) const override { return {}; }
  Tensor delta() const override { return decode(at::kFloat); }

 private:
  Panels(const kernels::PackedMatrix& plan, Tensor storage);

  void check(const Tensor& x) const;

  kernels::PackedMatrix matrix_;
  Tensor storage_;  // uint8, what matrix_.panels points to
};

}  // namespace sterna::quant
