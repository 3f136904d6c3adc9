#pragma once

#include <cmath>

#include "tests/run/spread_runs.h"

namespace sterna::run {

/// Squares of the roundings in bf16 that part a gradient from one rank's, each counted by the size
/// of what is rounded against the whole gradient, where ranks' gradients are no more alike than
/// those of different samples are.
inline double roundings(const Spread& s) {
  const auto ranks = static_cast<double>(s.ranks);
  // A weight's gradient is one product's over all samples there, several products' here.
  const double computed = s.dtype == at::kBFloat16 ? 2 : 0;
  // Every rank's gradient (together 1), and the sums of 2, 3, ... N of them.
  const double wired = ranks > 1 ? 1 + (ranks + 1) / 2 - 1 / ranks : 1;
  return computed + (s.reduce_dtype == "bf16" ? wired : 0);
}

/// 2^-8: the most by which a number is off in bf16, which has 8 bits. Errors lie evenly between
/// that and its negative, or nearer: squares are a third on average.
constexpr double kMostOff = 1.0 / 256;

inline double squared(const Tensor& x) {
  return x.to(at::kDouble).square().sum().item<double>();
}

/// The tolerance that recipes/README.md documents: of the whole gradient, and of each tensor's.
inline void expect_near_in_bf16(const Values& found, const Values& wanted, const Spread& spread) {
  const double most = kMostOff * std::sqrt(roundings(spread));
  double off = 0, all = 0;
  for (const auto& [name, each] : wanted) {
    const double error = squared(found.at(name) - each);
    EXPECT_LT(std::sqrt(error / squared(each)), most) << name;
    off += error;
    all += squared(each);
  }
  EXPECT_LT(std::sqrt(off / all), most / std::sqrt(3.0));
  if (spread.reduce_dtype == "bf16") {
    EXPECT_GT(std::sqrt(off / all), most / 10) << "nothing is rounded";
  }
}

/// Every strategy and number of ranks; what travels in bf16, what computes in bf16, and both.
inline std::vector<Spread> low_precision_spreads() {
  std::vector<Spread> all;
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"})
    for (const int64_t ranks : {1, 2, 4})
      for (const bool wire : {true, false})
        for (const bool compute : {true, false}) {
          Spread spread{strategy, ranks, 2, false, wire ? "bf16" : "fp32"};
          spread.dtype = compute ? at::kBFloat16 : at::kFloat;
          if (wire || compute)
            all.push_back(spread);
        }
  return all;
}

inline std::string low_precision_name(const testing::TestParamInfo<Spread>& info) {
  const Spread& s = info.param;
  return s.strategy + "_ranks" + std::to_string(s.ranks) +
         (s.reduce_dtype == "bf16" ? "_wire" : "") + (s.dtype == at::kBFloat16 ? "_compute" : "");
}

}  // namespace sterna::run
