#pragma once

#include <string>

#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include "tests/support/far_device.h"
#include "trainer/run/device.h"

namespace sterna::tests {

/// A device that tests run on: "far", which is none, or "cuda".
struct Tested {
  std::string name;

  bool is_far() const { return name == "far"; }
  at::Device device() const { return is_far() ? far_device() : at::Device(at::kCUDA, 0); }

  /// Why it cannot be tested here; empty where it can.
  std::string absent() const {
    const run::DevicesFound cuda = run::find_cuda();
    if (is_far())
      return has_far_device() ? "" : "there is a GPU, on which the same tests run";
    if (cuda.visible > 0)
      return {};
    return cuda.built ? "this process sees no GPU"
                      : "this program was built without CUDA (-DSTERNA_NCCL=ON)";
  }

  int64_t bytes() const {
    return is_far() ? far_figures().bytes : stats().allocated_bytes[0].current;
  }
  int64_t peak() const { return is_far() ? far_figures().peak : stats().allocated_bytes[0].peak; }
  void forget_peak() const {
    if (is_far())
      forget_far_peak();
    else
      cuda_allocator().resetPeakStats(0);
  }

 private:
  static c10::DeviceAllocator& cuda_allocator() {
    return dynamic_cast<c10::DeviceAllocator&>(*c10::GetAllocator(at::kCUDA));
  }
  static c10::CachingDeviceAllocator::DeviceStats stats() {
    return cuda_allocator().getDeviceStats(0);
  }
};

inline void PrintTo(const Tested& tested, std::ostream* out) {
  *out << tested.name;
}

inline std::string name_of(const testing::TestParamInfo<Tested>& info) {
  return info.param.name;
}

/// Tests that run on both; those on a GPU are skipped where there is none.
class OnDevice : public testing::TestWithParam<Tested> {
 protected:
  void SetUp() override {
    if (const std::string why = GetParam().absent(); !why.empty())
      GTEST_SKIP() << why;
  }
  at::Device device() const { return GetParam().device(); }
};

#define STERNA_ON_DEVICES(suite) \
  INSTANTIATE_TEST_SUITE_P(      \
      On, suite, testing::Values(tests::Tested{"far"}, tests::Tested{"cuda"}), tests::name_of)

}  // namespace sterna::tests
