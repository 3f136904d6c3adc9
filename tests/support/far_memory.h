#pragma once

#include <mutex>

#include <ATen/ATen.h>

#include "tests/support/far_device.h"

namespace sterna::tests {

using at::Tensor;

constexpr auto kFar = at::DeviceType::PrivateUse1;

/// What the far device counts.
struct Far {
  std::mutex mutex;
  FarFigures figures;

  static Far& get() {
    static Far far;
    return far;
  }
};

/// Memory on pages that nobody may touch.
c10::Allocator& far_allocator();

/// Copies at once, with the pages of both open as long as that takes.
void copy_now(const Tensor& from, const Tensor& to);

}  // namespace sterna::tests
