#pragma once

#include <cstddef>
#include <string_view>

namespace sterna::recipes {

/// A dotted key, "a.b.c", of more parts than are allowed.
struct DeepKey {
  int line = 0;  ///< from 1; 0: there is none
};

/// Looks for a key of more than `most` parts before the text is parsed: toml++ makes a table of
/// each part and unmakes them by recursion, which a key of some ten thousand parts brings down.
DeepKey find_deep_key(std::string_view text, size_t most);

}  // namespace sterna::recipes
