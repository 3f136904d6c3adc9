#include "trainer/plan/scaling.h"

#include <cmath>

#include "trainer/plan/memory_model.h"

namespace sterna::plan {
namespace {

constexpr double kHour = 3600;

double normal_density(double z) {
  return std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
}

double normal_below(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2;
}

}  // namespace

double slowest_of(int64_t ranks, double sigma) {
  // The density of the largest of n normal numbers is n * density * below^(n - 1).
  constexpr double kEnd = 10;
  constexpr int kPieces = 4000;
  const auto n = static_cast<double>(ranks);
  const double width = 2 * kEnd / kPieces;
  double sum = 0;
  for (int i = 0; i <= kPieces; ++i) {
    const double z = -kEnd + i * width;
    const double density = n * normal_density(z) * std::pow(normal_below(z), n - 1);
    sum += std::exp(sigma * z) * density * (i == 0 || i == kPieces ? 0.5 : 1.0);
  }
  return sum * width / std::exp(sigma * sigma / 2);
}

double daly_interval(double checkpoint, double between) {
  if (checkpoint >= 2 * between)
    return between;
  const double ratio = std::sqrt(checkpoint / (2 * between));
  return std::sqrt(2 * checkpoint * between) * (1 + ratio / 3 + ratio * ratio / 9) - checkpoint;
}

Failures failures_of(double bytes, int64_t ranks, const Machine& machine) {
  const auto nodes = static_cast<double>((ranks + machine.per_node - 1) / machine.per_node);
  Failures f;
  f.between = machine.mtbf_hours * kHour / static_cast<double>(ranks);
  f.checkpoint = bytes / (nodes * machine.storage_gbs * 1e9);
  f.interval = daly_interval(f.checkpoint, f.between);
  f.lost = f.checkpoint / f.interval + (f.interval + f.checkpoint) / (2 * f.between) +
           machine.restart_minutes * 60 / f.between;
  return f;
}

ScalePoint scale_point(const Workload& work, const Share& share, const Machine& machine) {
  ScalePoint point;
  point.ranks = share.ranks;
  point.time = step_time(work, share, machine);
  point.waiting = point.time.computing() * (slowest_of(share.ranks, machine.jitter) - 1);
  point.failures = failures_of(checkpoint_bytes(work), share.ranks, machine);
  return point;
}

std::vector<ScalePoint> weak_scaling(const Workload& work,
                                     const Share& share,
                                     int64_t last,
                                     const Machine& machine) {
  std::vector<ScalePoint> points;
  for (Share now = share; now.ranks <= last; now.ranks *= 2)
    points.push_back(scale_point(work, now, machine));
  return points;
}

}  // namespace sterna::plan
