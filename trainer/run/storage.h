#pragma once

#include <ATen/ATen.h>

namespace sterna::run {

/// Frees what a tensor holds; the tensor, and who refers to it, stay.
inline void free_storage(const at::Tensor& tensor) {
  auto* storage = tensor.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(storage->allocator()->allocate(0));
  storage->set_nbytes(size_t{0});
}

/// Gives a tensor that begins its storage room again; its values are arbitrary then.
inline void give_storage(const at::Tensor& tensor) {
  auto* storage = tensor.storage().unsafeGetStorageImpl();
  const size_t bytes = tensor.numel() * tensor.element_size();
  storage->set_data_ptr_noswap(storage->allocator()->allocate(bytes));
  storage->set_nbytes(bytes);
}

/// Bytes that a tensor holds.
inline int64_t storage_bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.storage().nbytes()) : 0;
}

}  // namespace sterna::run
