#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "quant/encoded.h"

namespace sterna::quant {

/// Consecutive inputs of one row that share a scale.
struct Run {
  int64_t at = 0;     ///< first element, in the row-major matrix
  int64_t scale = 0;  ///< element of the [N, G] (or [1, 1]) scales
};

/// Inputs that one scale serves, of `k` in a row; 0 where it is one for the whole matrix.
/// @param group  of a recipe: see Groups
inline int64_t inputs_per_scale(int64_t group, int64_t k) {
  return group < 0 ? 0 : group == 0 ? k : group;
}

/// How a matrix [N, K] is cut into runs. What `group` of a recipe means: 0 one scale a row, -1 one
/// for the whole matrix, else that many inputs.
class Groups {
 public:
  /// @param method  name of the quantizer, for messages
  /// @throws recipes::UserError  where the group does not divide K
  Groups(std::string_view method, const Tensor& w, int64_t group);

  int64_t rows() const { return n_; }
  int64_t length() const { return length_; }  ///< inputs of a run
  int64_t runs_per_row() const { return per_row_; }
  bool whole() const { return whole_; }
  int64_t scales() const { return whole_ ? 1 : n_ * per_row_; }
  int64_t weights_per_scale() const { return whole_ ? n_ * k_ : length_; }
  std::vector<int64_t> scales_shape() const;

  /// Empty codes [N, K] and scales, with group and grid filled in.
  Encoded encoded(int64_t bits, int64_t code_min, at::ScalarType scale_dtype) const;

  /// Calls body(run) for every run, rows in parallel.
  template <class Body>
  void each(const Body& body) const {
    at::parallel_for(0, n_, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        row_runs(row, body);
    });
  }

  /// One statistic per scale, then what follows from it: settle(measure(run), scale) is called once
  /// for every scale, write(run) for every run. Stat merges by merge(const Stat&); the parts of a
  /// whole matrix are merged row after row.
  template <class Measure, class Settle, class Write>
  void by_scale(const Measure& measure, const Settle& settle, const Write& write) const {
    if (!whole_) {
      each([&](const Run& run) {
        settle(measure(run), run.scale);
        write(run);
      });
      return;
    }
    using Stat = decltype(measure(Run{}));
    std::vector<Stat> parts(static_cast<size_t>(n_));
    at::parallel_for(0, n_, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        row_runs(row, [&](const Run& run) { parts[static_cast<size_t>(row)] = measure(run); });
    });
    if (parts.empty())
      return;
    for (size_t row = 1; row < parts.size(); ++row)
      parts[0].merge(parts[row]);
    settle(parts[0], 0);
    each(write);
  }

  /// Sum of part(run) over a whole matrix: fp64, row after row.
  template <class Part>
  double total(const Part& part) const {
    std::vector<double> parts(static_cast<size_t>(n_ * per_row_));
    at::parallel_for(0, n_, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        row_runs(row, [&](const Run& run) { parts[static_cast<size_t>(row)] = part(run); });
    });
    double sum = 0;
    for (const double value : parts)
      sum += value;
    return sum;
  }

 private:
  static constexpr int64_t kRowsPerTask = 8;

  template <class Body>
  void row_runs(int64_t row, const Body& body) const {
    for (int64_t run = 0; run < per_row_; ++run)
      body(Run{(row * per_row_ + run) * length_, whole_ ? 0 : row * per_row_ + run});
  }

  int64_t n_ = 0;
  int64_t k_ = 0;
  int64_t length_ = 0;
  int64_t per_row_ = 0;
  bool whole_ = false;
};

}  // namespace sterna::quant
