#pragma once

#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// Reads where special tokens stand (tokenizer.json's `post_processor`); nothing where it only
/// moves offsets or is null.
/// @throws recipes::UserError  naming the component that is not supported
std::optional<Surroundings> read_post_processor(const nlohmann::json& spec);

/// What a tokenizer without such words does: the start token in front of each text.
Surroundings default_surroundings(const SpecialTokens& special);

}  // namespace sterna::text
