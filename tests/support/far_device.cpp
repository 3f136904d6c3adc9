#include "tests/support/far_device.h"

#include <optional>

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

#include "tests/support/far_streams.h"

namespace sterna::tests {
namespace {

thread_local int64_t computing = 0;  // inside of an operation

void count_copy(const Tensor& from, const Tensor& to, bool beside) {
  if (computing > 0)
    return;
  Far& far = Far::get();
  const std::lock_guard lock(far.mutex);
  if (from.is_cpu())
    far.figures.bytes_up += static_cast<int64_t>(to.nbytes());
  else if (to.is_cpu())
    far.figures.bytes_down += static_cast<int64_t>(from.nbytes());
  if (!from.is_cpu() && to.is_cpu() && beside)
    far.figures.bytes_beside += static_cast<int64_t>(from.nbytes());
}

/// What LibTorch asks an accelerator, as which autograd counts this one.
struct FarHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetAllocator(at::kCPU); }
};

// ---- operations

Tensor make_empty(at::IntArrayRef size,
                  std::optional<at::ScalarType> dtype,
                  std::optional<at::Layout>,
                  std::optional<at::Device>,
                  std::optional<bool>,
                  std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size,
                                   &far_allocator(),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype),
                                   format);
}

Tensor make_strided(at::IntArrayRef size,
                    at::IntArrayRef stride,
                    std::optional<at::ScalarType> dtype,
                    std::optional<at::Layout>,
                    std::optional<at::Device>,
                    std::optional<bool>) {
  return at::detail::empty_strided_generic(size,
                                           stride,
                                           &far_allocator(),
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  const bool beside = non_blocking && is_beside() && computing == 0;
  count_copy(from, to, beside);
  if (beside)
    copy_later(from, to);
  else
    copy_now(from, to);
  return to;
}

const Tensor& grow(const Tensor& self, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* storage = self.storage().unsafeGetStorageImpl();
  const size_t bytes =
      (self.storage_offset() + c10::multiply_integers(size)) * self.dtype().itemsize();
  if (bytes > storage->nbytes()) {  // what it held is not kept: only results are resized
    storage->set_data_ptr_noswap(far_allocator().allocate(bytes));
    storage->set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (to.sizes() != from.sizes())
    grow(to, from.sizes(), std::nullopt);
  return copy_from(from, to, false);
}

void on_the_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if (op.schema().name() == "aten::_local_scalar_dense") {
    const std::lock_guard lock(Far::get().mutex);
    ++Far::get().figures.waits;
  }
  struct Computing {
    Computing() { ++computing; }
    ~Computing() { --computing; }
  } const inside;
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

// Before anything runs: autograd counts the devices when it begins, and knows one kind beside the
// CPU, which must stay CUDA where there is a GPU.
const bool kRegistered = [] {
  if (c10::impl::hasDeviceGuardImpl(at::kCUDA) &&
      c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount() > 0)
    return false;
  c10::register_privateuse1_backend("far");
  c10::SetAllocator(kFar, &far_allocator());
  c10::impl::registerDeviceGuard(kFar, far_guard());
  at::RegisterPrivateUse1HooksInterface(new FarHooks);
  return true;
}();

}  // namespace

bool has_far_device() {
  return kRegistered;
}

at::Device far_device() {
  return {kFar, 0};
}

}  // namespace sterna::tests

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &sterna::tests::make_empty);
  m.impl("empty_strided", &sterna::tests::make_strided);
  m.impl("_copy_from", &sterna::tests::copy_from);
  m.impl("_copy_from_and_resize", &sterna::tests::copy_from_and_resize);
  m.impl("resize_", &sterna::tests::grow);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&sterna::tests::on_the_host>());
}
