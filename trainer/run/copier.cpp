#include "trainer/run/copier.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>

namespace sterna::run {
namespace {

class PlainCopier final : public Copier {
 public:
  void start(const Tensor& to, const Tensor& from) override { Tensor(to).copy_(from); }
  void finish() override {}
  void wait() override {}
};

/// Streams and events of whatever device it is, so that no CUDA header is needed.
class StreamCopier final : public Copier {
 public:
  explicit StreamCopier(at::Device device)
      : device_(device),
        streams_(device.type()),
        beside_(streams_.getStreamFromGlobalPool(device)),
        computed_(device.type()),
        copied_(device.type()) {}

  void start(const Tensor& to, const Tensor& from) override {
    // Memory that is written to may have been another tensor's a moment ago.
    computed_.record(streams_.getStream(device_));
    computed_.block(beside_);
    const c10::StreamGuard guard(beside_);
    Tensor(to).copy_(from, /*non_blocking=*/true);
    copied_.record(beside_);
  }

  void finish() override { copied_.block(streams_.getStream(device_)); }

  void wait() override { beside_.synchronize(); }

 private:
  at::Device device_;
  c10::impl::VirtualGuardImpl streams_;
  c10::Stream beside_;
  c10::Event computed_;
  c10::Event copied_;
};

}  // namespace

std::unique_ptr<Copier> make_copier(at::Device device) {
  if (device.is_cpu())
    return std::make_unique<PlainCopier>();
  return std::make_unique<StreamCopier>(device);
}

}  // namespace sterna::run
