#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sterna::run {

/// Rows (first dimension) of one parameter: those that a rank owns. All of them on one rank, and
/// wherever nothing is sharded.
struct Rows {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t total = 0;

  int64_t count() const { return end - begin; }
  bool whole() const { return count() == total; }
};

/// Shares of ceil(total / ranks) rows, by rank; the last ones may have fewer or none.
inline std::vector<Rows> share_rows(int64_t total, int64_t ranks) {
  const int64_t each = (total + ranks - 1) / ranks;
  std::vector<Rows> shares;
  for (int64_t rank = 0; rank < ranks; ++rank)
    shares.push_back({std::min(rank * each, total), std::min((rank + 1) * each, total), total});
  return shares;
}

/// All rows with one rank.
inline std::vector<Rows> give_rows(int64_t total, int64_t ranks, int64_t owner) {
  std::vector<Rows> shares(static_cast<size_t>(ranks), Rows{0, 0, total});
  shares[static_cast<size_t>(owner)].end = total;
  return shares;
}

}  // namespace sterna::run
