#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "trainer/model/decoder.h"

namespace sterna::eval {

/// How the next token is chosen.
struct Sampling {
  int64_t max_new = 100;
  double temperature = 0;  ///< 0: the most likely token
  double top_p = 1;        ///< of the most likely tokens, the fewest whose sum reaches this
  uint64_t seed = 0;
  bool past_end = false;  ///< goes on behind an end token; what it writes there is not shown
};

/// Uniform in [0, 1): a pure function of seed and position, so a continuation does not depend on
/// how it was cut into calls.
double uniform_at(uint64_t seed, uint64_t position);

/// Token chosen from one row of logits.
/// @param logits  [V]
int64_t choose(const at::Tensor& logits, const Sampling& sampling, uint64_t position);

/// Refuses a prompt that generate() would refuse: an empty one, one that fills the model's
/// positions. @throws recipes::UserError
void require_prompt(std::span<const int32_t> prompt, const model::DecoderConfig& config);

/// Continues a prompt with a key/value cache until `max_new` tokens, a token of `stop` (given out
/// as well) or the end of the model's positions.
/// @param prompt   at least one id
/// @param on_token called with each new id as it comes; false stops
/// @return         the new ids
std::vector<int32_t> generate(const model::Decoder& decoder,
                              std::span<const int32_t> prompt,
                              const Sampling& sampling,
                              std::span<const int64_t> stop,
                              const std::function<bool(int32_t)>& on_token = {});

}  // namespace sterna::eval
