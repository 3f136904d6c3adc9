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

void TensorList::add(const std::string& name, const at::Tensor& tensor) {
  TORCH_CHECK(tensors_.emplace(name, tensor.contiguous()).second, "export: ", name, " twice");
}

uint64_t TensorList::bytes() const {
  uint64_t sum = 0;
  for (const auto& [name, tensor] : tensors_)
    sum += tensor.nbytes();
  return sum;
}

void TensorList::write(const std::filesystem::path& path) const {
  std::vector<io::TensorToWrite> list;
  for (const auto& [name, tensor] : tensors_) {
    const auto* bytes = static_cast<const std::byte*>(tensor.const_data_ptr());
    list.push_back(
        {name, file_dtype(tensor.scalar_type()), tensor.sizes().vec(), {bytes, tensor.nbytes()}});
  }
  io::write_safetensors(path, std::move(list));
}

}  // namespace sterna::exporter
