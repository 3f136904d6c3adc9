#pragma once

#include <filesystem>
#include <string_view>

namespace sterna::recipes {

/// Where downloads and token caches live: $STERNA_CACHE, else ${XDG_CACHE_HOME:-~/.cache}/sterna.
/// @throws UserError  where neither says a folder and HOME is not set
std::filesystem::path cache_dir();

/// `text` with a leading `~`, `$STERNA_CACHE` or `$STERNA_DATA` replaced by what it stands for.
/// @throws UserError  naming the variable that is not set
std::filesystem::path expand_path(std::string_view text);

}  // namespace sterna::recipes
