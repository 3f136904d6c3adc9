#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sterna::recipes {

/// Number of single-character edits (insert, delete, replace, swap neighbours) from `a` to `b`.
int edit_distance(std::string_view a, std::string_view b);

/// The candidate closest to `word`, the earlier of equals, or "" when none is within a third of
/// its length.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

/// "; did you mean 'x'?" for the closest candidate, or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace sterna::recipes
