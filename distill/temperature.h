#pragma once

#include "distill/divergence.h"

namespace sterna::distill {

/// The key that every divergence from the teacher has.
struct Temperature {
  double temperature = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("temperature",
      temperature,
      "divides both logits; the loss is multiplied by its square",
      recipes::Range{1e-2, 1e3});
  }

  View view(double mixture = 0) const { return {temperature, mixture}; }
  double of_loss() const { return temperature * temperature; }
  double of_gradient() const { return temperature; }  ///< 1 / temperature from the chain rule
};

}  // namespace sterna::distill
