#include "recipes/glob.h"

#include <algorithm>
#include <limits>

namespace sterna::recipes {
namespace {

/// Single-character edits of `text` until `pattern` matches it.
int distance(std::string_view pattern, std::string_view text) {
  std::vector<int> row(text.size() + 1);
  for (size_t j = 0; j < row.size(); ++j)
    row[j] = static_cast<int>(j);
  for (const char p : pattern) {
    int diagonal = row[0];
    row[0] += p == '*' ? 0 : 1;
    for (size_t j = 1; j < row.size(); ++j) {
      const int above = row[j];
      if (p == '*')
        row[j] = std::min(above, row[j - 1]);
      else
        row[j] = std::min(
            {above + 1, row[j - 1] + 1, diagonal + (p == '?' || p == text[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view text) {
  return distance(pattern, text) == 0;
}

std::string nearest_to_glob(std::string_view pattern, const std::vector<std::string>& texts) {
  std::string nearest;
  int best = std::numeric_limits<int>::max();
  for (const std::string& text : texts) {
    const int edits = distance(pattern, text);
    if (edits < best) {
      best = edits;
      nearest = text;
    }
  }
  return nearest;
}

}  // namespace sterna::recipes
