#include "tests/support/far_device.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <sys/mman.h>
#include <vector>

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

namespace sterna::tests {
namespace {

using at::Tensor;

constexpr auto kFar = at::DeviceType::PrivateUse1;
constexpr size_t kPage = 4096;
constexpr c10::StreamId kUsual = 0;
constexpr c10::StreamId kBeside = 1;

/// Memory of one storage.
struct Block {
  void* at = nullptr;
  size_t bytes = 0;
  int64_t users = 0;  ///< who has the pages open

  size_t room() const { return (bytes + kPage - 1) / kPage * kPage; }
};

struct Far {
  std::mutex mutex;
  FarFigures figures;

  static Far& get() {
    static Far far;
    return far;
  }
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  Far& far = Far::get();
  const std::lock_guard lock(far.mutex);
  far.figures.bytes -= static_cast<int64_t>(block->bytes);
  munmap(block->at, block->room());
  delete block;
}

class FarAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(kFar, 0);
    if (bytes == 0)
      return {nullptr, device};
    auto* block = new Block{nullptr, bytes, 0};
    block->at = mmap(nullptr, block->room(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(block->at != MAP_FAILED, "far device: no memory");
    Far& far = Far::get();
    const std::lock_guard lock(far.mutex);
    far.figures.bytes += static_cast<int64_t>(bytes);
    far.figures.peak = std::max(far.figures.peak, far.figures.bytes);
    return {block->at, block, &release, device};
  }
  void copy_data(void*, const void*, size_t) const override {
    TORCH_CHECK(false, "far device: memory is copied by tensors");
  }
};

FarAllocator& far_allocator() {
  static FarAllocator allocator;
  return allocator;
}

/// The pages of a tensor, open while this lives; nothing for one in host memory.
class Opened {
 public:
  explicit Opened(const Tensor& tensor) {
    if (tensor.device().type() != kFar)
      return;
    block_ = static_cast<Block*>(tensor.storage().data_ptr().get_context());
    change(+1);
  }
  ~Opened() { change(-1); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  void change(int64_t by) {
    if (block_ == nullptr)
      return;
    const std::lock_guard lock(Far::get().mutex);
    block_->users += by;
    mprotect(block_->at, block_->room(), block_->users > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
  Block* block_ = nullptr;
};

/// The same memory as a tensor of the host, to be used while it is open.
Tensor seen_here(const Tensor& tensor) {
  if (tensor.is_cpu())
    return tensor.detach();
  return at::from_blob(const_cast<void*>(tensor.const_data_ptr()),
                       tensor.sizes(),
                       tensor.strides(),
                       at::TensorOptions().dtype(tensor.scalar_type()));
}

void copy_now(const Tensor& from, const Tensor& to) {
  const at::NoGradGuard no_grad;
  const Opened source(from);
  const Opened target(to);
  seen_here(to).copy_(seen_here(from));
}

// ---- streams

thread_local c10::StreamId current_stream = kUsual;
thread_local int64_t computing = 0;  // inside of an operation

struct Waiting {
  Tensor from, to;
};
std::vector<Waiting>& waiting() {
  static std::vector<Waiting> copies;
  return copies;
}
std::mutex waiting_mutex;

void run_waiting() {
  std::vector<Waiting> copies;
  {
    const std::lock_guard lock(waiting_mutex);
    copies.swap(waiting());
  }
  for (const Waiting& each : copies)
    copy_now(each.from, each.to);
}

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

struct FarGuard final : c10::impl::NoOpDeviceGuardImpl<kFar> {
  c10::Device exchangeDevice(c10::Device) const override { return {kFar, 0}; }
  c10::Device getDevice() const override { return {kFar, 0}; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(current_stream); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(kUsual); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream(kBeside); }
  c10::Stream exchangeStream(c10::Stream next) const noexcept override {
    const c10::Stream before = stream(current_stream);
    current_stream = next.id();
    return before;
  }
  // An event says which stream it was recorded on: that is all that one needs to know here.
  void record(void** event,
              const c10::Stream& on,
              c10::DeviceIndex,
              c10::EventFlag) const override {
    *event = on.id() == kBeside ? &waiting() : nullptr;
  }
  void block(void* event, const c10::Stream& until) const override {
    if (event != nullptr && until.id() == kUsual)
      run_waiting();
  }
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void* event) const override {
    if (event != nullptr)
      run_waiting();
  }
  void synchronizeStream(const c10::Stream& on) const override {
    if (on.id() == kBeside)
      run_waiting();
  }
  void synchronizeDevice(c10::DeviceIndex) const override { run_waiting(); }

 private:
  static c10::Stream stream(c10::StreamId id) {
    return c10::Stream(c10::Stream::UNSAFE, {kFar, 0}, id);
  }
};

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
  const bool beside = non_blocking && current_stream == kBeside && computing == 0;
  count_copy(from, to, beside);
  if (beside) {
    const std::lock_guard lock(waiting_mutex);
    waiting().push_back({from, to});
  } else {
    copy_now(from, to);
  }
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
  c10::impl::registerDeviceGuard(kFar, new FarGuard);
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

FarFigures far_figures() {
  const std::lock_guard lock(Far::get().mutex);
  return Far::get().figures;
}

void forget_far_peak() {
  const std::lock_guard lock(Far::get().mutex);
  Far::get().figures.peak = Far::get().figures.bytes;
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
