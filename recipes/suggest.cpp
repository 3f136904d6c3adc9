#include "recipes/suggest.h"

#include <algorithm>

namespace sterna::recipes {

int edit_distance(std::string_view a, std::string_view b) {
  const size_t rows = a.size() + 1;
  const size_t cols = b.size() + 1;
  std::vector<std::vector<int>> d(rows, std::vector<int>(cols));
  for (size_t i = 0; i < rows; ++i)
    d[i][0] = static_cast<int>(i);
  for (size_t j = 0; j < cols; ++j)
    d[0][j] = static_cast<int>(j);
  for (size_t i = 1; i < rows; ++i) {
    for (size_t j = 1; j < cols; ++j) {
      const int replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[rows - 1][cols - 1];
}

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  int best_distance = static_cast<int>(word.size()) / 3 + 1;
  for (const std::string& candidate : candidates) {
    const size_t gap =
        std::max(candidate.size(), word.size()) - std::min(candidate.size(), word.size());
    if (gap >= static_cast<size_t>(best_distance))
      continue;
    const int distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string near = closest(word, candidates);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

}  // namespace sterna::recipes
