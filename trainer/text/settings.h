#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// What stands beside the tokenizer proper.
struct Settings {
  SpecialTokens special;
  std::string chat_template;
  Surroundings surroundings;  ///< where the post-processor says more than "start token first"
};

using FindPiece = std::function<std::optional<int32_t>(std::string_view)>;

/// Reads tokenizer_config.json, special_tokens_map.json, chat_template.jinja and, for ids that
/// these do not give, generation_config.json and config.json of a checkpoint's folder.
/// @param settings  what the tokenizer's own file says; explicit words of the side files win, but
///        for `surroundings`: the side files matter only where they say nothing
Settings read_settings(const std::filesystem::path& folder,
                       Settings settings,
                       const FindPiece& find);

}  // namespace sterna::text
