#pragma once

#include <memory>
#include <vector>

#include "trainer/run/copier.h"

namespace sterna::run {

/// Inputs of blocks, of which backward needs no more than these, lie in host memory (pinned, where
/// they come from a GPU) between their way there and their way back: the idea of large model
/// support (Le et al., arXiv:1807.02037). At most two are on the device at a time; host buffers are
/// made once for each place and used again.
class Offload {
 public:
  /// @param copier  null: that of the first tensor's device
  explicit Offload(std::unique_ptr<Copier> copier = nullptr) : copier_(std::move(copier)) {}

  /// Forgets what a way there left; buffers stay.
  void begin();

  /// Takes the next input on the way there, while the block that it is for computes.
  /// @param place  at or above 0; whoever reads an input must not write into it
  void put(int64_t place, const Tensor& input);

  /// Begins to bring an input back; nothing where it is here, or was never put.
  void fetch(int64_t place);

  /// The input, on its device; it is gone from here.
  Tensor take(int64_t place);

  int64_t host_bytes() const;

 private:
  struct Place {
    Tensor buffer;  ///< flat, in host memory, for the longest input so far
    Tensor stored;  ///< of the buffer, in the input's shape; undefined where nothing was put
    Tensor here;    ///< on the device, coming or going
  };
  Place* at(int64_t place);

  std::unique_ptr<Copier> copier_;
  at::Device device_ = at::kCPU;
  std::vector<Place> places_;
  int64_t last_ = -1;  ///< put last: its copy may be under way, it stays on the device
};

}  // namespace sterna::run
