#include "distill/intervention.h"

#include "distill/draw.h"

namespace sterna::distill {
namespace {

// Behind every sample and every layer: the draw of a step's mode.
constexpr int64_t kNoSample = -1;

}  // namespace

std::vector<recipes::Field> intervention_fields() {
  return recipes::list_fields<Intervention::Config>();
}

Intervention::Intervention(recipes::Section kd) : config_(kd.sub("intervention").read<Config>()) {}

Swap Intervention::at(int64_t step, int64_t seed) const {
  const int64_t steps = config_.steps;
  if (step >= steps)
    return Swap::kNone;
  if (config_.mode == "gradual")
    return 6 * step < steps ? Swap::kOutput : 3 * step < steps ? Swap::kContext : Swap::kMap;
  if (config_.mode == "inverted")
    return 3 * step < steps ? Swap::kMap : 3 * step < 2 * steps ? Swap::kContext : Swap::kOutput;
  if (config_.mode == "stochastic") {
    constexpr Swap kAll[] = {Swap::kMap, Swap::kContext, Swap::kOutput};
    return kAll[static_cast<int64_t>(3 * draw(seed, step, kNoSample, 0))];
  }
  return Swap::kOutput;
}

bool Intervention::drawn(int64_t seed, int64_t step, int64_t sample, int64_t layer) const {
  const double done =
      config_.steps > 1 ? static_cast<double>(step) / static_cast<double>(config_.steps - 1) : 0.0;
  const double chance = config_.chance + done * (config_.chance_final - config_.chance);
  return draw(seed, step, sample, layer) < chance;
}

}  // namespace sterna::distill
