#pragma once

#include "trainer/model/config.h"
#include "trainer/model/json_keys.h"

namespace sterna::model {

/// Reads RoPE as transformers 4 writes it (rope_theta beside rope_scaling) or 5 (rope_parameters).
/// Needs `config.head_dim` and `config.max_positions`. @throws recipes::UserError
kvcache::RopeConfig read_hf_rope(const Keys& keys, const DecoderConfig& config);

}  // namespace sterna::model
