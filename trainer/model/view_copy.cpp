#include "trainer/model/view_copy.h"

#include <cstring>

namespace sterna::model {
namespace {

at::ScalarType scalar_type(io::Dtype dtype) {
  switch (dtype) {
    case io::Dtype::kU8:
      return at::kByte;
    case io::Dtype::kF16:
      return at::kHalf;
    case io::Dtype::kBF16:
      return at::kBFloat16;
    case io::Dtype::kI64:
      return at::kLong;
    case io::Dtype::kI32:
    case io::Dtype::kU32:
      return at::kInt;
    default:
      return at::kFloat;
  }
}

}  // namespace

at::Tensor copy_of(const io::TensorView& view) {
  at::Tensor tensor = at::empty(view.shape, scalar_type(view.dtype));
  TORCH_CHECK(tensor.nbytes() == view.bytes.size(), view.name, ": stored in an unknown type");
  if (!view.bytes.empty())
    std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  return tensor;
}

}  // namespace sterna::model
