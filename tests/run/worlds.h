#pragma once

#include <functional>
#include <stdexcept>

#include "trainer/dist/world.h"

namespace sterna::run {

/// A world of which only the sum is used.
class SumOnly : public dist::World {
 public:
  dist::WorkHandle reduce_scatter(at::Tensor, const at::Tensor&) override { return unused(); }
  dist::WorkHandle all_gather(at::Tensor, const at::Tensor&) override { return unused(); }
  dist::WorkHandle broadcast(const std::vector<at::Tensor>&, int64_t) override { return unused(); }
  std::vector<std::string> gather_bytes(const std::string&) override { return {}; }
  void barrier() override {}
  [[noreturn]] void abort(const std::string& reason) override { throw std::runtime_error(reason); }
  std::unique_ptr<World> subgroup(const std::vector<int64_t>&) override { return nullptr; }

 protected:
  class Done final : public dist::Work {
   public:
    void wait() override {}
  };
  static dist::WorkHandle done() { return std::make_shared<Done>(); }

 private:
  static dist::WorkHandle unused() { throw std::logic_error("a step only sums"); }
};

/// Notes every sum; `others` may add what other ranks would.
class RecordingWorld final : public SumOnly {
 public:
  explicit RecordingWorld(std::vector<std::string>& events) : events_(events) {}

  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  dist::WorkHandle all_reduce(const std::vector<at::Tensor>& tensors) override {
    std::string event = "sum";
    for (const at::Tensor& tensor : tensors)
      event += " " + std::to_string(tensor.numel());
    events_.push_back(event);
    if (others)
      others(calls_, tensors);
    ++calls_;
    return done();
  }

  std::function<void(int64_t call, const std::vector<at::Tensor>&)> others;

 private:
  std::vector<std::string>& events_;
  int64_t calls_ = 0;
};

}  // namespace sterna::run
