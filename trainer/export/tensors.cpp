#include "trainer/export/tensors.h"

#include <cstring>

#include "recipes/user_error.h"

namespace sterna::exporter {

io::Dtype file_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kByte:
      return io::Dtype::kU8;
    case at::kHalf:
      return io::Dtype::kF16;
    case at::kBFloat16:
      return io::Dtype::kBF16;
    case at::kFloat:
      return io::Dtype::kF32;
    case at::kInt:
      return io::Dtype::kI32;
    case at::kLong:
      return io::Dtype::kI64;
    default:
      break;
  }
  TORCH_CHECK(false, "export: no file type for ", dtype);
}

at::Tensor round_to(const at::Tensor& w, at::ScalarType dtype, const std::string& name) {
  at::Tensor rounded = w.to(dtype).contiguous();
  if (dtype == at::kHalf && (at::isinf(rounded) & at::isfinite(w)).any().item<bool>())
    throw recipes::UserError(
        "tensor '" + name + "' holds values beyond fp16's 65504; export with --dtype bf16 or fp32");
  return rounded;
}

at::Tensor after_rounding(const at::Tensor& w, const std::string& storage) {
  const at::ScalarType dtype = storage == "BF16"  ? at::kBFloat16
                               : storage == "F16" ? at::kHalf
                                                  : at::kFloat;
  return w.to(dtype).to(at::kFloat);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes())
    return false;
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

at::ScalarType exact_dtype(const at::Tensor& w, at::ScalarType fallback) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    if (same_bits(w.to(dtype).to(at::kFloat), w))
      return dtype;
  }
  return w.dim() < 2 ? at::kFloat : fallback;
}

void put(io::SafetensorsStream& file, const std::string& name, const at::Tensor& tensor) {
  const at::Tensor t = tensor.contiguous();
  file.add({name,
            file_dtype(t.scalar_type()),
            t.sizes().vec(),
            {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}});
}

}  // namespace sterna::exporter
