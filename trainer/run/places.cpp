#include "trainer/run/places.h"

namespace sterna::run {

Tensor host_like(const Tensor& tensor) {
  // Only from page-locked memory does a GPU copy while the host goes on.
  return at::empty(tensor.sizes(),
                   tensor.options().device(at::kCPU).pinned_memory(tensor.is_cuda()));
}

void fill(const Tensor& target, const std::function<void(Tensor&)>& write) {
  Tensor values = target.is_cpu() ? target : host_like(target);
  write(values);
  if (!target.is_cpu())
    Tensor(target).copy_(values, /*non_blocking=*/true);
}

Tensor HostCopy::of(const Tensor& tensor) {
  if (tensor.is_cpu())
    return tensor;
  const bool old = !copy_.defined() || version_ != tensor._version();
  if (!copy_.defined())
    copy_ = host_like(tensor);
  if (old)
    copy_.copy_(tensor);
  version_ = tensor._version();
  return copy_;
}

void HostCopy::fill(const Tensor& tensor, const std::function<void(Tensor&)>& write) {
  run::fill(tensor, [&](Tensor& values) {
    write(values);
    if (!tensor.is_cpu())
      copy_ = values;
  });
  version_ = tensor._version();
}

}  // namespace sterna::run
