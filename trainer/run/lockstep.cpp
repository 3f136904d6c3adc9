#include "trainer/run/lockstep.h"

#include <algorithm>

#include "trainer/run/stopwatch.h"

namespace sterna::run {

Lockstep::Lockstep(const model::Decoder& teacher,
                   const distill::Objective& objective,
                   const distill::Counts& totals,
                   const Place& place)
    : teacher_(teacher),
      objective_(objective),
      totals_(totals),
      place_(place),
      swaps_(objective.intervention().at(place.step, place.seed) == distill::Swap::kOutput) {}

void Lockstep::begin(const Inputs& inputs) {
  inputs_ = inputs;
  cache_ = inputs.cache(teacher_);
  sums_ = at::zeros({static_cast<int64_t>(totals_.size())},
                    at::TensorOptions(inputs.tokens.device()).dtype(at::kDouble));
}

/// bool [B]
Tensor Lockstep::drawn_rows(int64_t layer, bool& any, bool& all) const {
  const distill::Intervention& schedule = objective_.intervention();
  Tensor rows = at::empty({inputs_.tokens.size(0)}, at::kBool);
  any = false;
  all = true;
  for (int64_t b = 0; b < rows.size(0); ++b) {
    const bool drawn = schedule.drawn(place_.seed, place_.step, place_.first_sample + b, layer);
    rows.mutable_data_ptr<bool>()[b] = drawn;
    any = any || drawn;
    all = all && drawn;
  }
  return rows.to(inputs_.tokens.device());
}

model::AttentionOutput Lockstep::advance(int64_t part) {
  const at::NoGradGuard no_grad;
  Stopwatch watch;
  model::AttentionOutput student;
  Tensor seen;
  bool any = false;
  bool all = false;
  if (part == 0) {
    x_ = teacher_.embed(inputs_.tokens, inputs_.positions);
  } else if (part > teacher_.config().layers) {
    x_ = teacher_.final_norm(x_);
  } else {
    const Tensor rows = swaps_ ? drawn_rows(part - 1, any, all) : Tensor();
    x_ = teacher_.layer(part - 1, x_, inputs_.positions, *cache_, {any ? &seen : nullptr, {}, {}});
    if (any)
      student = {nullptr, seen, all ? Tensor() : rows};
  }
  watch.lap(ms_);
  return student;
}

/// In one block: what outlives a layer must not be strewn among what is freed with it, or the heap
/// grows by the holes.
Tensor Lockstep::keep(const Tensor& gradient) {
  if (!kept_.defined()) {
    const std::vector<std::string> sites = distill::hidden_sites(teacher_.config().layers);
    std::vector<int64_t> shape = gradient.sizes().vec();
    shape.insert(shape.begin(), std::count_if(sites.begin(), sites.end(), [&](const auto& site) {
                   return objective_.hidden().weight(site) > 0;
                 }));
    kept_ = at::empty(shape, gradient.options());
  }
  return kept_[kept_count_++].copy_(gradient);
}

Tensor Lockstep::compare(int64_t part, const Tensor& student) {
  if (!objective_.hidden().wanted())
    return {};
  const std::string site = distill::hidden_site(part, teacher_.config().layers);
  if (site.empty())
    return {};
  const Tensor gradient = objective_.compare_hidden(site, student, x_, totals_, sums_);
  return gradient.defined() ? keep(gradient) : gradient;
}

}  // namespace sterna::run
