#pragma once

#include <memory>
#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/data.h"
#include "trainer/io/safetensors.h"

namespace sterna::tests {

/// A safetensors file among the reference sets, as tensors by name.
class ReferenceSet {
 public:
  explicit ReferenceSet(const std::string& relative)
      : file_(io::open_safetensors(data_dir() / relative)) {}

  at::Tensor at(const std::string& name) const {
    const io::TensorView& view = *file_->find(name);
    const auto dtype = view.dtype == io::Dtype::kF32   ? at::kFloat
                       : view.dtype == io::Dtype::kF64 ? at::kDouble
                       : view.dtype == io::Dtype::kI64 ? at::kLong
                       : view.dtype == io::Dtype::kI32 ? at::kInt
                       : view.dtype == io::Dtype::kU8  ? at::kByte
                                                       : at::kBool;
    const at::Tensor tensor = at::empty(view.shape, dtype);
    std::copy(view.bytes.begin(), view.bytes.end(), static_cast<std::byte*>(tensor.data_ptr()));
    return tensor;
  }

 private:
  std::unique_ptr<io::TensorFile> file_;
};

/// True where no element is further off than `tolerance` of the larger of 1 and `want`'s largest.
inline testing::AssertionResult agrees(const at::Tensor& got,
                                       const at::Tensor& want,
                                       double tolerance) {
  if (got.sizes() != want.sizes())
    return testing::AssertionFailure() << "shape " << got.sizes() << ", expected " << want.sizes();
  const double off = (got.to(at::kDouble) - want.to(at::kDouble)).abs().max().item<double>();
  const double scale = want.to(at::kDouble).abs().max().item<double>();
  if (off <= tolerance * scale)
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << "off by " << off << " of " << scale;
}

}  // namespace sterna::tests
