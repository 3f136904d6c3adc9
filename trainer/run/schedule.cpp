#include "trainer/run/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sterna::run {
namespace {

/// As the published BertAdam: of the whole, warm-up included.
double bert_factor(int64_t attempt, int64_t warmup, int64_t steps) {
  const double done = static_cast<double>(attempt) / static_cast<double>(steps);
  const double rise = static_cast<double>(warmup) / static_cast<double>(steps);
  return done < rise ? done / rise : std::max((done - 1) / (rise - 1), 0.0);
}

}  // namespace

/// What is left of the way from the peak to `final`, 1 to 0.
double Schedule::shape(int64_t attempt) const {
  int64_t begin = warmup;
  if (curve == "wsd") {
    // The attempt before the fall is its peak: a fall of n attempts takes n steps down.
    const auto falling = static_cast<int64_t>(std::ceil(fall * static_cast<double>(steps)));
    begin = std::max(warmup, steps - falling) - 1;
  }
  // The last attempt reaches `final` exactly; a stage of one attempt runs at its peak.
  const int64_t span = std::max<int64_t>(steps - 1 - begin, 1);
  const double done = static_cast<double>(attempt - begin) / static_cast<double>(span);
  const double inside = std::clamp(done, 0.0, 1.0);
  return curve == "cosine" ? 0.5 * (1.0 + std::cos(std::numbers::pi * inside)) : 1.0 - inside;
}

double Schedule::factor(int64_t attempt) const {
  if (curve == "bert")
    return bert_factor(attempt, warmup, steps);
  if (attempt < warmup)
    return static_cast<double>(attempt + 1) / static_cast<double>(warmup);
  if (curve == "constant")
    return 1.0;
  const double factor = final + (1.0 - final) * shape(attempt);
  return curve == "two_stage" && in_second_half(attempt) ? second * factor : factor;
}

double Schedule::decay_factor(int64_t attempt) const {
  return curve == "two_stage" && in_second_half(attempt) ? 0.0 : 1.0;
}

}  // namespace sterna::run
