#pragma once

#include <string>

#include <ATen/ATen.h>

#include "distill/objective.h"
#include "recipes/recipe.h"

namespace sterna::distill {

/// The objective of a recipe whose [kd] section holds `text`.
inline Objective objective(const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse("[kd]\n" + text + "\n", "test.toml");
  Objective made(recipe.section("kd"));
  recipe.reject_unknown();
  return made;
}

/// Inputs whose logits are given: a head that is the identity.
inline HeadInputs given_logits(const Tensor& student, const Tensor& teacher, const Tensor& labels) {
  const Tensor identity = at::eye(student.size(-1), student.options());
  return {student, identity, teacher, identity, labels};
}

struct Outcome {
  double loss = 0;
  std::vector<double> sums;
  Tensor gradient;
};

/// One micro-batch as a whole step; `totals` where its own counts are not wanted.
inline Outcome run(const Objective& objective,
                   const HeadInputs& inputs,
                   Counts totals = {},
                   const Tensor& head_grad = {}) {
  if (totals.empty())
    totals = objective.counts(inputs.labels);
  const HeadResult result = objective.run(inputs, totals, head_grad);
  Outcome outcome;
  outcome.gradient = result.d_hidden;
  const auto weights = objective.term_weights();
  for (size_t i = 0; i < weights.size(); ++i) {
    outcome.sums.push_back(result.sums[static_cast<int64_t>(i)].item<double>());
    outcome.loss += totals[i] > 0 ? weights[i] * outcome.sums[i] / totals[i] : 0.0;
  }
  return outcome;
}

/// What an oracle in double says of a loss: its value, and its gradients of hidden states and head.
struct Oracle {
  double loss;
  Tensor d_hidden, d_head;
};

/// KL(p || q) of log probabilities, over the last dimension.
inline Tensor kl(const Tensor& p, const Tensor& q) {
  return (p.exp() * (p - q)).sum(-1);
}

/// How near values of reference implementations are met, relatively.
constexpr double kTolerance = 1e-5;

/// randn^3 * scale.
inline Tensor heavy_tailed(at::IntArrayRef shape, double scale = 1) {
  return at::randn(shape).pow(3) * scale;
}

}  // namespace sterna::distill
