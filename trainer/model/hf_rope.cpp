#include "trainer/model/hf_rope.h"

namespace sterna::model {
namespace {

using kvcache::RopeConfig;

constexpr const char* kOriginal = "original_max_position_embeddings";

// A scaled model without its scale would load and be wrong: what transformers demands has no
// default here.
void read_llama3(const Keys& scaling, const std::string& key, RopeConfig& rope) {
  rope.factor = scaling.number("factor");
  rope.low_freq_factor = scaling.number("low_freq_factor");
  rope.high_freq_factor = scaling.number("high_freq_factor");
  rope.original_max_positions = scaling.integer(kOriginal);
  if (rope.high_freq_factor <= rope.low_freq_factor)
    scaling.refuse(key, "high_freq_factor must exceed low_freq_factor");
}

void read_yarn(const Keys& scaling, int64_t max_positions, RopeConfig& rope) {
  rope.factor = scaling.number("factor");
  rope.original_max_positions = scaling.integer_or(kOriginal, max_positions);
  rope.beta_fast = scaling.number_or("beta_fast", rope.beta_fast);
  rope.beta_slow = scaling.number_or("beta_slow", rope.beta_slow);
  rope.truncate = scaling.boolean_or("truncate", true);
  rope.mscale = scaling.number_or("mscale", 0);
  rope.mscale_all_dim = scaling.number_or("mscale_all_dim", 0);
}

// The original length may stand beside the scaling (then their ratio is the factor, whatever else
// is said) or in it; without either the configuration's length is the original one.
void read_longrope(const Keys& keys,
                   const Keys& scaling,
                   const DecoderConfig& config,
                   RopeConfig& rope) {
  rope.short_factor = scaling.numbers("short_factor");
  rope.long_factor = scaling.numbers("long_factor");
  for (const char* key : {"short_factor", "long_factor"}) {
    if (static_cast<int64_t>(scaling.numbers(key).size()) != config.head_dim / 2)
      scaling.refuse(key,
                     "expected " + std::to_string(config.head_dim / 2) +
                         " numbers (half the head width), found " +
                         std::to_string(scaling.numbers(key).size()));
  }
  const bool beside = keys.has(kOriginal);
  const bool inside = scaling.has(kOriginal);
  rope.original_max_positions = beside   ? keys.integer(kOriginal)
                                : inside ? scaling.integer(kOriginal)
                                         : config.max_positions;
  const double ratio = static_cast<double>(config.max_positions) /
                       static_cast<double>(std::max<int64_t>(rope.original_max_positions, 1));
  rope.factor = beside   ? ratio
                : inside ? scaling.number_or("factor", ratio)
                         : scaling.number("factor");
}

void read_scaling(const Keys& keys,
                  const std::string& key,
                  const Keys& scaling,
                  const DecoderConfig& config,
                  RopeConfig& rope) {
  if (rope.type == "linear") {
    rope.factor = scaling.number("factor");
  } else if (rope.type == "dynamic") {
    rope.factor = scaling.number("factor");
    rope.original_max_positions = config.max_positions;
    if (config.head_dim <= 2)
      scaling.refuse(key, "dynamic scaling needs heads wider than 2");
  } else if (rope.type == "llama3") {
    read_llama3(scaling, key, rope);
  } else if (rope.type == "yarn") {
    read_yarn(scaling, config.max_positions, rope);
  } else if (rope.type == "longrope") {
    read_longrope(keys, scaling, config, rope);
  } else if (rope.type != "default") {
    scaling.refuse(key,
                   "rope type '" + rope.type +
                       "' is not supported; default, linear, dynamic, llama3, yarn, longrope are");
  }
  if (rope.type == "yarn" || rope.type == "longrope") {
    if (scaling.has("attention_factor"))
      rope.attention_factor = scaling.number("attention_factor");
    if (rope.attention_factor && !(*rope.attention_factor > 0))
      scaling.refuse("attention_factor", "expected a positive number");
  }
  if (rope.type != "default" && rope.type != "linear" && rope.original_max_positions <= 1)
    scaling.refuse(kOriginal, "expected a number above 1");
}

}  // namespace

RopeConfig read_hf_rope(const Keys& keys, const DecoderConfig& config) {
  RopeConfig rope;
  rope.head_dim = config.head_dim;
  rope.theta = keys.number_or("rope_theta", 10000.0);
  const std::string key = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (keys.number_or("partial_rotary_factor", 1.0) != 1)
    keys.refuse("partial_rotary_factor", "only 1 is supported");
  if (!keys.has(key))
    return rope;
  const Keys scaling = keys.object(key);
  for (const char* kind : {"full_attention", "sliding_attention"}) {
    if (scaling.is_object(kind))
      scaling.refuse(kind, "RoPE that differs between kinds of layers is not supported");
  }
  rope.theta = scaling.number_or("rope_theta", rope.theta);
  rope.type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  read_scaling(keys, key, scaling, config, rope);
  if (scaling.number_or("partial_rotary_factor", 1.0) != 1)
    scaling.refuse("partial_rotary_factor", "only 1 is supported");
  return rope;
}

}  // namespace sterna::model
