#include "trainer/run/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sterna::run {

double Schedule::factor(int64_t attempt) const {
  if (attempt < warmup)
    return static_cast<double>(attempt + 1) / static_cast<double>(warmup);
  if (curve == "constant")
    return 1.0;
  // The last attempt reaches `final` exactly; a stage of one attempt runs at its peak.
  const int64_t span = std::max<int64_t>(steps - 1 - warmup, 1);
  const double done =
      std::min(static_cast<double>(attempt - warmup) / static_cast<double>(span), 1.0);
  const double shape =
      curve == "linear" ? 1.0 - done : 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return final + (1.0 - final) * shape;
}

}  // namespace sterna::run
