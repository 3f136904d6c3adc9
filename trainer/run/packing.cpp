#include "trainer/run/packing.h"

namespace sterna::run {
namespace {

// Pieces begin where any element type and a vector of them may.
constexpr int64_t kAlign = 64;

}  // namespace

void Packing::add(const std::vector<Rows>& by_rank, int64_t row) {
  std::vector<Piece> own;
  for (size_t rank = 0; rank < used_.size(); ++rank) {
    const int64_t count = by_rank[rank].count() * row;
    own.push_back({by_rank[rank], used_[rank], count});
    used_[rank] += (count + kAlign - 1) / kAlign * kAlign;
  }
  pieces_.push_back(std::move(own));
}

int64_t Packing::segment() const {
  return *std::max_element(used_.begin(), used_.end());
}

}  // namespace sterna::run
