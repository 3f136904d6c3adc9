#pragma once

#include <functional>

#include <ATen/ATen.h>

namespace sterna::run {

using at::Tensor;

/// Where what belongs to a student lies. Quantizers, and what they learn, are in host memory
/// wherever the rest is: scales are the same bits wherever a run computes.
struct Places {
  at::Device compute = at::kCPU;  ///< compute weights, their gradients, activations, batches
  at::Device state = at::kCPU;    ///< masters and moments: the same device, or the host

  /// True where gradients come down to the host and compute weights go up.
  bool apart() const { return compute != state; }
};

/// Lets `write` fill host memory for a tensor wherever that lies: the tensor itself where it is
/// there, else a buffer that travels up while the host goes on.
void fill(const Tensor& target, const std::function<void(Tensor&)>& write);

/// Host memory of a tensor's shape: what lies on a GPU travels there and back beside its work.
Tensor host_like(const Tensor& tensor);

/// A tensor of a device as host memory has it: comes down where it is asked for and operations have
/// written to the tensor since.
class HostCopy {
 public:
  /// @param tensor  the same one each time; in host memory it is given back itself
  Tensor of(const Tensor& tensor);

  /// As run::fill(); what was written need not come down.
  void fill(const Tensor& tensor, const std::function<void(Tensor&)>& write);

 private:
  Tensor copy_;
  uint32_t version_ = 0;  ///< of the tensor, when both were the same
};

}  // namespace sterna::run
