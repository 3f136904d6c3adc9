#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "recipes/value.h"

namespace sterna::recipes {

/// The place of a value that an override gave.
inline constexpr const char* kCommandLine = "command line";

/// Reads TOML text, its `include` lists followed and merged. `origin` names the text in messages;
/// includes are relative to its folder.
/// @throws RecipeError  with file:line:column
Value parse_recipe(const std::string& text, const std::string& origin);

/// The same for a file.
Value load_recipe(const std::filesystem::path& path);

/// The value of a command-line override: TOML, or else a bare string.
/// @throws RecipeError  for a list, table or quoted text that does not close, and invalid UTF-8
Value parse_override(std::string_view text);

}  // namespace sterna::recipes
