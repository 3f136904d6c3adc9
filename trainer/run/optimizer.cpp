#include "trainer/run/optimizer.h"

#include <cmath>

namespace sterna::run {
namespace {

std::string first_bad(const std::vector<Trained>& tensors) {
  for (const Trained& t : tensors)
    if (!at::isfinite(t.grad).all().item<bool>())
      return t.name;
  return {};
}

}  // namespace

Outcome Optimizer::inspect(const std::vector<Trained>& tensors) const {
  Outcome outcome;
  outcome.grad_norm = std::sqrt(squared_norm(tensors));
  if (!std::isfinite(outcome.grad_norm))
    outcome.bad_tensor = first_bad(tensors);
  return outcome;
}

Outcome Optimizer::apply(std::vector<Trained>& tensors, const Rates& rates) {
  Outcome outcome = inspect(tensors);
  if (outcome.bad_tensor.empty())
    move(tensors, rates, outcome);
  return outcome;
}

void Optimizer::move(std::vector<Trained>& tensors, const Rates& rates, Outcome& outcome) {
  for (Trained& t : tensors) {
    Moments& own = moments_[t.name];
    if (!own.first.defined()) {
      own.first = at::zeros_like(t.value);
      own.second = at::zeros_like(t.value);
    }
    t.moment1 = own.first;
    t.moment2 = own.second;
  }
  AdamStep step{rates.lr, rates.lr_quantizer, 1.0, ++applied_};
  if (clip_ > 0 && outcome.grad_norm > clip_)
    step.grad_factor = clip_ / outcome.grad_norm;
  adamw_step(tensors, config_, step);
  outcome.applied = true;
}

}  // namespace sterna::run
