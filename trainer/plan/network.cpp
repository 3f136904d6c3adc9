#include "trainer/plan/network.h"

#include <algorithm>

namespace sterna::plan {
namespace {

constexpr double kGiga = 1e9;
constexpr double kMicro = 1e-6;

double share_sent(double ranks) {
  return (ranks - 1) / ranks;
}

/// One way round: reduce-scatter or all-gather.
double ring(double bytes, double ranks, double nodes, const Machine& m) {
  const double rails = ranks / nodes;
  const double rate = nodes > 1 ? std::min(m.intra_gbs, rails * m.inter_gbs) : m.intra_gbs;
  const double hops = (ranks - nodes) * m.intra_us + (nodes - 1) * m.inter_us;
  return share_sent(ranks) * bytes / (rate * kGiga) + hops * kMicro;
}

double hierarchical(double bytes, double ranks, double nodes, const Machine& m) {
  const double local = ranks / nodes;
  const double between = share_sent(nodes) * bytes / local / (m.inter_gbs * kGiga);
  const double within = share_sent(local) * bytes / (m.intra_gbs * kGiga);
  return between + within + ((nodes - 1) * m.inter_us + (local - 1) * m.intra_us) * kMicro;
}

}  // namespace

double bytes_sent(Collective what, double bytes, int64_t ranks) {
  const double once = share_sent(static_cast<double>(ranks)) * bytes;
  return what == Collective::kAllReduce ? 2 * once : once;
}

double seconds_of(Collective what, double bytes, int64_t ranks, const Machine& machine) {
  if (ranks <= 1 || bytes <= 0)
    return 0;
  const auto all = static_cast<double>(ranks);
  const auto nodes = static_cast<double>((ranks + machine.per_node - 1) / machine.per_node);
  double once = ring(bytes, all, nodes, machine);
  if (nodes > 1)
    once = std::min(once, hierarchical(bytes, all, nodes, machine));
  return what == Collective::kAllReduce ? 2 * once : once;
}

}  // namespace sterna::plan
