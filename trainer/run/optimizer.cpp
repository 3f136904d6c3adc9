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
  outcome.squared_norm = squared_norm(tensors);
  outcome.grad_norm = std::sqrt(outcome.squared_norm);
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

double Optimizer::grad_factor(const Trained& tensor, const Outcome& outcome) const {
  if (clip_ <= 0)
    return 1;
  if (!config_.bert)
    return outcome.grad_norm > clip_ ? clip_ / outcome.grad_norm : 1.0;
  // As torch.nn.utils.clip_grad_norm_, called with one tensor after the other.
  return std::min(
      1.0,
      clip_ / (std::sqrt(tensor.squared < 0 ? squared_norm({&tensor, 1}) : tensor.squared) + 1e-6));
}

void Optimizer::move(std::vector<Trained>& tensors, const Rates& rates, Outcome& outcome) {
  ++applied_;
  for (Trained& t : tensors) {
    if (t.value.numel() == 0)
      continue;  // another rank's
    Moments& own = moments_[t.name];
    if (!own.first.defined()) {
      own.first = at::zeros_like(t.value);
      own.second = at::zeros_like(t.value);
    }
    // A checkpoint brings them in host memory.
    own.first = own.first.to(t.value.device());
    own.second = own.second.to(t.value.device());
    t.moment1 = own.first;
    t.moment2 = own.second;
    t.applied = ++own.applied;
    t.grad_factor = grad_factor(t, outcome);
  }
  adamw_step(tensors, config_, rates);
  outcome.applied = true;
}

}  // namespace sterna::run
