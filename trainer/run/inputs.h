#pragma once

#include <memory>

#include "trainer/model/decoder.h"

namespace sterna::run {

using at::Tensor;

/// What goes into a model in one pass.
struct Inputs {
  Tensor tokens;     ///< int64 [B, T]
  Tensor positions;  ///< int64 [T], or [B, T] where rows differ
  Tensor documents;  ///< int64 [B, T] (kvcache/mask.h); undefined where each row is one document

  /// Positions follow from the documents: each starts at 0.
  Inputs(Tensor tokens = {}, Tensor documents = {});

  /// The same on a device; this one where it is there.
  Inputs to(at::Device device) const;

  std::unique_ptr<kvcache::Cache> cache(const model::Decoder& decoder) const;
};

}  // namespace sterna::run
