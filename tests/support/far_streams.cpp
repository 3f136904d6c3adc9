#include "tests/support/far_streams.h"

#include <vector>

namespace sterna::tests {
namespace {

constexpr c10::StreamId kUsual = 0;
constexpr c10::StreamId kBeside = 1;

thread_local c10::StreamId current_stream = kUsual;

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

}  // namespace

bool is_beside() {
  return current_stream == kBeside;
}

void copy_later(const Tensor& from, const Tensor& to) {
  const std::lock_guard lock(waiting_mutex);
  waiting().push_back({from, to});
}

const c10::impl::DeviceGuardImplInterface* far_guard() {
  static const auto* guard = new FarGuard;
  return guard;
}

}  // namespace sterna::tests
