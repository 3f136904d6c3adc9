// Backward of one iteration, with p_ij the gradient for a_ij of one weight:
//   p_ij = (u_i - c'_j) dc'_j / S_j             S_j = sum_i n_i a_ij
//          and in the last one g c'_j besides, because the value is sum_j a_ij c'_j
//   dz_ij = a_ij (p_ij - sum_l a_il p_il)       z_ij = -|u_i - c_j| / temperature
//   du_i  = sum_j a_ij dc'_j / S_j - sum_j dz_ij sign(u_i - c_j) / temperature
//   dc_j  = sum over weights of dz_ij sign(u_i - c_j) / temperature
// g c'_j is linear in the weight's own gradient g, the rest is the same for all weights of a value:
// hence a slope and an offset.
#include "quant/soft_means.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sterna::quant {
namespace {

constexpr int kLloyd = 300;
// Below this mass no weight is near enough for its centroid to be computed, or to matter.
constexpr double kNoMass = 1e-30;

double sign(double x) {
  return x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0;
}

/// Sums of counts and of values before every distinct value.
struct Prefix {
  std::vector<double> count{0};
  std::vector<double> sum{0};

  explicit Prefix(const Uniques& weights) {
    for (size_t i = 0; i < weights.values.size(); ++i) {
      count.push_back(count.back() + weights.counts[i]);
      sum.push_back(sum.back() + weights.counts[i] * weights.values[i]);
    }
  }
};

Centroids quantiles(const Uniques& weights, const Prefix& before, int64_t k) {
  Centroids result;
  for (int64_t j = 0; j < k; ++j) {
    const double wanted =
        before.count.back() * (static_cast<double>(j) + 0.5) / static_cast<double>(k);
    const auto at = std::upper_bound(before.count.begin(), before.count.end(), wanted);
    const auto index = std::clamp<int64_t>(at - before.count.begin() - 1, 0, weights.size() - 1);
    result.push_back(weights.values[static_cast<size_t>(index)]);
  }
  return result;
}

}  // namespace

Centroids hard_means(const Uniques& weights, int64_t k) {
  if (weights.size() == 0)
    return Centroids(static_cast<size_t>(k));
  const Prefix before(weights);
  Centroids means = quantiles(weights, before, k);
  for (int round = 0; round < kLloyd; ++round) {
    const Centroids old = means;
    size_t begin = 0;
    for (size_t j = 0; j < means.size(); ++j) {
      size_t end = weights.values.size();
      if (j + 1 < means.size()) {
        const double middle = (old[j] + old[j + 1]) / 2;
        end = static_cast<size_t>(
            std::upper_bound(weights.values.begin(), weights.values.end(), middle) -
            weights.values.begin());
      }
      const double count = before.count[end] - before.count[begin];
      if (count > 0)
        means[j] = (before.sum[end] - before.sum[begin]) / count;
      begin = end;
    }
    if (means == old)
      break;
  }
  return means;
}

SoftMeans::SoftMeans(const Uniques& weights, Centroids start, const Settings& settings)
    : weights_(weights), temperature_(settings.temperature), path_{std::move(start)} {
  const size_t k = path_[0].size();
  Centroids a(k);
  for (int64_t round = 0; round < settings.iterations; ++round) {
    const Centroids& now = path_.back();
    Centroids mass(k), sum(k);
    for (size_t i = 0; i < weights_.values.size(); ++i) {
      attention(weights_.values[i], now, a);
      for (size_t j = 0; j < k; ++j) {
        mass[j] += weights_.counts[i] * a[j];
        sum[j] += weights_.counts[i] * a[j] * weights_.values[i];
      }
    }
    Centroids next = now;
    double moved = 0;
    for (size_t j = 0; j < k; ++j) {
      if (mass[j] > kNoMass)
        next[j] = sum[j] / mass[j];
      moved = std::max(moved, std::abs(next[j] - now[j]));
    }
    path_.push_back(std::move(next));
    if (moved <= settings.tolerance)
      break;
  }
}

void SoftMeans::attention(double u, const Centroids& at, Centroids& a) const {
  double nearest = HUGE_VAL;
  for (const double c : at)
    nearest = std::min(nearest, std::abs(u - c));
  double sum = 0;
  for (size_t j = 0; j < at.size(); ++j)
    sum += a[j] = std::exp((nearest - std::abs(u - at[j])) / temperature_);
  for (double& each : a)
    each /= sum;
}

Centroids SoftMeans::masses(const Centroids& at) const {
  Centroids mass(at.size()), a(at.size());
  for (size_t i = 0; i < weights_.values.size(); ++i) {
    attention(weights_.values[i], at, a);
    for (size_t j = 0; j < at.size(); ++j)
      mass[j] += weights_.counts[i] * a[j];
  }
  return mass;
}

std::vector<float> SoftMeans::values() const {
  const Centroids& seen = path_[path_.size() - 2];
  const Centroids& last = path_.back();
  Centroids a(last.size());
  std::vector<float> result;
  for (const double u : weights_.values) {
    attention(u, seen, a);
    double value = 0;
    for (size_t j = 0; j < last.size(); ++j)
      value += a[j] * last[j];
    result.push_back(static_cast<float>(value));
  }
  return result;
}

Centroids SoftMeans::back_one(size_t iteration,
                              const Centroids& d_next,
                              const std::vector<double>* sums,
                              Pull& pull) const {
  const Centroids& at = path_[iteration];
  const Centroids& next = path_[iteration + 1];
  const size_t k = at.size();
  const Centroids mass = masses(at);
  Centroids d_at(k), a(k), share(k), p(k);
  for (size_t j = 0; j < k; ++j) {
    share[j] = mass[j] > kNoMass ? d_next[j] / mass[j] : 0;
    d_at[j] = mass[j] > kNoMass ? 0 : d_next[j];
  }
  for (size_t i = 0; i < weights_.values.size(); ++i) {
    const double u = weights_.values[i];
    attention(u, at, a);
    double mean_p = 0, mean_c = 0, offset = 0, slope = 0;
    for (size_t j = 0; j < k; ++j) {
      p[j] = (u - next[j]) * share[j];
      mean_p += a[j] * p[j];
      mean_c += a[j] * next[j];
    }
    for (size_t j = 0; j < k; ++j) {
      const double side = a[j] * sign(u - at[j]) / temperature_;
      const double of_all = side * (p[j] - mean_p);
      const double of_own = side * (next[j] - mean_c);
      offset += a[j] * share[j] - of_all;
      slope -= of_own;
      d_at[j] += weights_.counts[i] * of_all + (sums != nullptr ? (*sums)[i] * of_own : 0);
    }
    pull.offset[i] += static_cast<float>(offset);
    if (sums != nullptr)
      pull.slope[i] = static_cast<float>(slope);
  }
  return d_at;
}

SoftMeans::Pull SoftMeans::backward(const std::vector<double>& sums) const {
  const size_t k = path_[0].size();
  Pull pull{std::vector<float>(weights_.values.size()), std::vector<float>(weights_.values.size())};
  size_t iteration = path_.size() - 2;
  Centroids d(k), a(k);
  for (size_t i = 0; i < weights_.values.size(); ++i) {
    attention(weights_.values[i], path_[iteration], a);
    for (size_t j = 0; j < k; ++j)
      d[j] += sums[i] * a[j];
  }
  d = back_one(iteration, d, &sums, pull);
  while (iteration-- > 0)
    d = back_one(iteration, d, nullptr, pull);
  return pull;
}

}  // namespace sterna::quant
