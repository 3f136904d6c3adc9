#pragma once

#include <memory>

#include <ATen/ATen.h>

namespace sterna::run {

using at::Tensor;

/// Copies between a device and host memory, one after the other, beside what the device computes.
class Copier {
 public:
  virtual ~Copier() = default;

  /// Begins to copy, behind all that has been computed and copied so far. Both tensors stay as they
  /// are until finish() or wait(). On its way to host memory nothing changes its dtype.
  virtual void start(const Tensor& to, const Tensor& from) = 0;

  /// What the device computes from here on finds every copy done.
  virtual void finish() = 0;

  /// What the host reads from here on does, too.
  virtual void wait() = 0;
};

/// On a device with streams copies go in one of their own; in host memory they are plain.
std::unique_ptr<Copier> make_copier(at::Device device);

}  // namespace sterna::run
