#pragma once

#include <cstdint>
#include <vector>

#include "quant/uniques.h"

namespace sterna::quant {

using Centroids = std::vector<double>;

/// Hard k-means (Lloyd) from the weights' quantiles until nothing moves; ascending.
Centroids hard_means(const Uniques& weights, int64_t k);

/// Differentiable k-means (DKM) over the distinct values u_i of n_i weights each:
///
///   a_ij = softmax over j of -|u_i - c_j| / temperature
///   c'_j = sum_i n_i a_ij u_i / sum_i n_i a_ij          a centroid that nothing reaches stays
///
/// repeated until no centroid moves by more than `tolerance`, at most `iterations` times; what a
/// weight becomes is sum_j a_ij c'_j of the last time.
///
/// Holds no a_ij: they are computed anew wherever they are needed, so the memory is that of the
/// distinct values. Sums in fp64, in ascending order of the values.
class SoftMeans {
 public:
  struct Settings {
    double temperature = 1;
    int64_t iterations = 1;
    double tolerance = 0;
  };

  /// @param weights  must outlive this
  SoftMeans(const Uniques& weights, Centroids start, const Settings& settings);

  /// c' of the last iteration.
  const Centroids& centroids() const { return path_.back(); }

  /// What the weights of every distinct value become.
  std::vector<float> values() const;

  /// Gradient for a weight of value u_i whose soft value has gradient g: slope_i g + offset_i.
  struct Pull {
    std::vector<float> slope;
    std::vector<float> offset;
  };

  /// Through every iteration back to the weights; the start is a constant.
  /// @param sums  of the gradients of all weights of a value
  Pull backward(const std::vector<double>& sums) const;

 private:
  void attention(double u, const Centroids& at, Centroids& a) const;
  Centroids masses(const Centroids& at) const;
  Centroids back_one(size_t iteration,
                     const Centroids& d_next,
                     const std::vector<double>* sums,
                     Pull& pull) const;

  const Uniques& weights_;
  double temperature_;
  std::vector<Centroids> path_;  // before every iteration, and behind the last
};

}  // namespace sterna::quant
