// The end of a step: what moves, by how much, and whether at all.
#include <cmath>

#include "trainer/run/step.h"

namespace sterna::run {

/// What the teacher stood in for has no gradient: neither decay nor old moments may move it.
void Step::drop_untouched(std::vector<Trained>& trained) const {
  std::vector<double> touched;
  for (const Trained& t : trained)
    touched.push_back(t.grad.any().item<bool>() ? 1 : 0);
  sharing_.sum(touched);
  size_t at = 0;
  std::erase_if(trained, [&](const Trained&) { return touched[at++] == 0; });
}

/// Norms of whole gradients, of which each rank has its rows.
void Step::sum_norms(std::vector<Trained>& trained, Outcome& outcome) const {
  if (!sharing_.sharded())
    return;
  std::vector<double> squares{outcome.squared_norm};
  if (parts_.optimizer.clips_each())
    for (const Trained& t : trained)
      squares.push_back(squared_norm({&t, 1}));
  sharing_.sum(squares);
  outcome.grad_norm = std::sqrt(squares.front());
  for (size_t i = 1; i < squares.size(); ++i)
    trained[i - 1].squared = squares[i];
}

Outcome Step::update(const std::vector<double>& losses,
                     std::vector<Trained>& trained,
                     const Rates& now) {
  std::vector<std::string> terms = parts_.objective.term_names();
  terms.push_back(kRange);
  Outcome outcome = parts_.optimizer.inspect(trained);
  sum_norms(trained, outcome);
  for (size_t i = 0; i < losses.size(); ++i)
    if (!std::isfinite(losses[i]) && outcome.bad_tensor.empty())
      outcome.bad_tensor = "loss " + terms[i];
  // Ranks that do not agree would train different models from here on.
  Tensor found_inf = at::full({1}, outcome.bad_tensor.empty() ? 0.0 : 1.0, at::kDouble);
  parts_.world.all_reduce({found_inf})->wait();
  if (found_inf.item<double>() == 0)
    parts_.optimizer.move(trained, now, outcome);
  else if (outcome.bad_tensor.empty())
    outcome.bad_tensor = "what another rank computes";
  return outcome;
}

/// The whole loss of the step; that of the ranges is weighted already.
void Step::sum_losses(const std::vector<double>& means, double ranges, StepReport& report) const {
  report.losses = means;
  const std::vector<double> weights = parts_.objective.term_weights();
  for (size_t i = 0; i < weights.size(); ++i)
    report.loss += weights[i] * means[i];
  if (parts_.ranges != nullptr)
    report.losses.push_back(ranges);
  report.loss += ranges;
}

Rates Step::rates(int64_t attempt) const {
  const Schedule schedule = config_.lr_schedule();
  const double factor = schedule.factor(attempt);
  return {config_.lr * factor, config_.quantizer_lr() * factor, schedule.decay_factor(attempt)};
}

}  // namespace sterna::run
