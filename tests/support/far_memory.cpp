#include "tests/support/far_memory.h"

#include <algorithm>
#include <sys/mman.h>

namespace sterna::tests {
namespace {

constexpr size_t kPage = 4096;

/// Memory of one storage.
struct Block {
  void* at = nullptr;
  size_t bytes = 0;
  int64_t users = 0;  ///< who has the pages open

  size_t room() const { return (bytes + kPage - 1) / kPage * kPage; }
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

}  // namespace

c10::Allocator& far_allocator() {
  static FarAllocator allocator;
  return allocator;
}

void copy_now(const Tensor& from, const Tensor& to) {
  const at::NoGradGuard no_grad;
  const Opened source(from);
  const Opened target(to);
  seen_here(to).copy_(seen_here(from));
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
