#pragma once

#include <memory>
#include <vector>

#include "trainer/data/samples.h"

namespace sterna::data {

/// A source and how many of every kBlendBlock samples are its.
struct BlendShare {
  std::unique_ptr<SampleSource> source;
  int64_t count = 0;
};

/// Samples come in blocks of so many, in which every source has its share exactly.
inline constexpr int64_t kBlendBlock = 1000;

/// Shares of kBlendBlock in the ratio of `weights`, by largest remainders.
std::vector<int64_t> blend_counts(const std::vector<double>& weights);

/// Mixes sources: which of them a sample comes from, and which of its samples that is, is a pure
/// function of (seed, index). Each source goes through epochs of its own.
/// @param shares  counts of kBlendBlock together, none 0
std::unique_ptr<SampleSource> make_blend(std::vector<BlendShare> shares, int64_t seed);

}  // namespace sterna::data
