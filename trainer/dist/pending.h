#pragma once

#include <torch/csrc/distributed/c10d/Work.hpp>

#include "trainer/dist/pulse.h"
#include "trainer/dist/world.h"

namespace sterna::dist {

/// Tensors of one device and dtype as one; copied there and back unless it is a single one already.
struct Flat {
  at::Tensor whole;               ///< [n]
  std::vector<at::Tensor> parts;  ///< empty where the tensor itself is used

  void give_back() const;
};

/// One for each device and dtype among them; none for tensors without elements.
std::vector<Flat> flatten(const std::vector<at::Tensor>& tensors);

/// Calls of c10d under way, and what is to be done when they have ended.
class Pending final : public Work {
 public:
  /// A call of c10d on a tensor [n].
  using Start = std::function<c10::intrusive_ptr<c10d::Work>(const at::Tensor& whole)>;

  /// @param number  of the collective, as the pulse counts them
  /// @param patient  waits for other ranks as long as they live
  Pending(Pulse& pulse, int64_t number, bool patient)
      : pulse_(pulse), number_(number), patient_(patient) {}

  void add(const Start& start, Flat flat);
  void wait() override;

 private:
  Pulse& pulse_;
  int64_t number_;
  bool patient_;
  std::vector<c10::intrusive_ptr<c10d::Work>> works_;
  std::vector<Flat> flats_;
  bool done_ = false;
};

}  // namespace sterna::dist
