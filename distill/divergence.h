#pragma once

#include <memory>

#include "distill/logits.h"
#include "recipes/registry.h"

namespace sterna::distill {

/// What a token's loss pulls the student's distribution to.
enum class Target { kLabel, kTeacher };

/// A loss of one token's logits. Every registered divergence obeys, and
/// tests/distill/divergence_contract_test.cpp checks: its gradient for the student's logits is
/// p_s - target, so that a fused kernel needs no more than two coefficients a token; a token
/// without label costs a label divergence nothing; equal logits give a teacher divergence no
/// gradient.
class Divergence {
 public:
  virtual ~Divergence() = default;
  virtual Target target() const = 0;

  /// @return  fp64 [N], nats
  virtual Tensor per_token(const LogitFigures& figures) const = 0;
};

/// Every divergence that a term of `kd.loss` may name.
const recipes::Registry<Divergence>& divergences();

}  // namespace sterna::distill
