#pragma once

#include <memory>

#include <ATen/ATen.h>

#include "recipes/registry.h"

namespace sterna::distill {

using at::Tensor;

/// What is known about each token of a batch. B sequences, T positions.
struct TokenStats {
  Tensor labelled;  ///< bool [B, T]
  /// fp64 [B, T]: the teacher against the label, nats; 0 where unlabelled. Undefined unless the
  /// weighting needs it.
  Tensor teacher_label_ce;
};

/// How much each token counts:
///   loss = sum over tokens of weight * divergence  /  count
///
/// Sums and counts are added up over micro-batches and ranks and divided once, so a run has the
/// same gradient however its global batch is cut. Every registered weighting obeys, and
/// tests/distill/weighting_contract_test.cpp checks, with its defaults: weights are finite; an
/// unlabelled token weighs 0; a sequence's weights do not depend on the rest of the batch; the
/// weights of a batch add up to its count.
class TokenWeighting {
 public:
  virtual ~TokenWeighting() = default;

  /// True where weights() reads teacher_label_ce.
  virtual bool needs_teacher() const = 0;

  /// @return  fp64 [B, T]
  virtual Tensor weights(const TokenStats& tokens) const = 0;

  /// What the summed loss is divided by; from labels alone, so known before the forward pass.
  /// @param labelled  bool [B, T] on the host
  virtual double count(const Tensor& labelled) const = 0;
};

/// Every weighting that a term of `kd.loss` may name.
const recipes::Registry<TokenWeighting>& weightings();

}  // namespace sterna::distill
