#pragma once

#include <cstdint>
#include <vector>

#include "trainer/run/rows.h"

namespace sterna::run {

/// Where rows of several tensors lie with each rank's packed behind each other, [ranks, segment]:
/// what all_gather gives and reduce_scatter takes. Counts in elements of whatever size.
class Packing {
 public:
  explicit Packing(int64_t ranks) : used_(static_cast<size_t>(ranks), 0) {}

  /// The next tensor. @param row  elements of a row
  void add(const std::vector<Rows>& by_rank, int64_t row);

  struct Piece {
    Rows rows;
    int64_t at = 0;     ///< in the rank's segment
    int64_t count = 0;  ///< elements
  };
  const Piece& piece(size_t tensor, int64_t rank) const { return pieces_[tensor][rank]; }

  int64_t ranks() const { return static_cast<int64_t>(used_.size()); }

  /// Elements of each rank: those of the rank with most.
  int64_t segment() const;

 private:
  std::vector<int64_t> used_;               // by rank
  std::vector<std::vector<Piece>> pieces_;  // by tensor, rank
};

}  // namespace sterna::run
