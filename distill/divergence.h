#pragma once

#include <memory>

#include "distill/logits.h"
#include "recipes/registry.h"

namespace sterna::distill {

/// What a token's loss compares the student's distribution with.
enum class Target { kLabel, kTeacher };

/// A divergence's gradient as multiples of the parts that kernels::LogitPull names.
struct Direction {
  double teacher = 0;
  double label = 0;
  double reverse = 0;
  double mixture = 0;
};

/// A loss of one token's logits. Every registered divergence obeys, and
/// tests/distill/divergence_contract_test.cpp checks: its gradient for the student's logits is its
/// direction in its view, so that a fused kernel needs no more than four coefficients a token; a
/// token without label costs a label divergence nothing; equal logits give a teacher divergence no
/// gradient. Those with a `temperature` divide both logits by it and multiply the loss by its
/// square, so that the gradient keeps its size (Hinton et al., arXiv:1503.02531).
class Divergence {
 public:
  virtual ~Divergence() = default;
  virtual Target target() const = 0;
  virtual View view() const { return {}; }

  /// @param figures  in view()
  /// @return         fp64 [N], nats
  virtual Tensor per_token(const LogitFigures& figures) const = 0;

  /// True where value and gradient over some words and the rest as one are those of
  /// distill/top_words.h.
  virtual bool takes_top_words() const { return view().temperature == 1; }

  /// Of per_token() for the student's logits.
  virtual Direction direction() const = 0;

  /// Micro-batches on which the teacher's confidence must be measured before the first step; 0:
  /// not needed.
  virtual int64_t batches_to_measure() const { return 0; }

  /// @param confidence  mean over tokens of the teacher's largest probability, on those batches
  virtual void set_confidence(double confidence) { (void)confidence; }
};

/// Every divergence that a term of `kd.loss` may name.
const recipes::Registry<Divergence>& divergences();

}  // namespace sterna::distill
