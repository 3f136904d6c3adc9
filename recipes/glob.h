#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sterna::recipes {

/// True where the whole of `text` matches: `*` stands for any characters (dots as well), `?` for
/// one, every other character for itself.
bool glob_matches(std::string_view pattern, std::string_view text);

/// The text that needs the fewest edits to match, the earlier of equals; "" for no texts at all.
std::string nearest_to_glob(std::string_view pattern, const std::vector<std::string>& texts);

}  // namespace sterna::recipes
