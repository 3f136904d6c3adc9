#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "trainer/model/decoder.h"

namespace sterna::eval {

/// Training data that a model writes itself (LLM-QAT: Liu et al., arXiv:2305.17888): every word of
/// the vocabulary in turn begins a sequence, the next 3 to 5 tokens are the likeliest ones, those
/// behind are sampled.
struct SelfGeneration {
  int64_t sequences = 0;
  int64_t length = 512;  ///< tokens of a sequence at most
  int64_t greedy_least = 3;
  int64_t greedy_most = 5;
  double temperature = 1;
  int64_t seed = 0;
  int64_t batch = 16;          ///< sequences that are written side by side
  int64_t vocab = 0;           ///< ids are below it; the model's embedding may have more rows
  std::vector<int32_t> first;  ///< ids that may begin a sequence
  std::vector<int64_t> stop;   ///< ids that end one
};

/// Calls `take` for each sequence, in order, its end token included. What is drawn is a pure
/// function of seed, sequence and position; the order of the first words of the seed.
void self_generate(const model::Decoder& decoder,
                   const SelfGeneration& wanted,
                   const std::function<void(std::span<const int32_t>)>& take);

}  // namespace sterna::eval
