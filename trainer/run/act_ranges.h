#pragma once

#include "trainer/dist/world.h"
#include "trainer/model/decoder.h"

namespace sterna::run {

/// The activation quantizers of a model that learn from training steps.
class ActRanges {
 public:
  explicit ActRanges(model::Decoder& decoder);

  /// Before a step's first micro-batch; forgets what a dropped step has seen.
  void start();

  /// Behind a step that was applied, on every rank: all learn the range that any rank saw.
  void finish(dist::World& world);

 private:
  std::vector<std::shared_ptr<quant::ActQuantizer>> learning_;
};

}  // namespace sterna::run
