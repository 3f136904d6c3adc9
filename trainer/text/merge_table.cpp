#include "trainer/text/merge_table.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace sterna::text {
namespace {

// Up to here looking through all neighbours is faster than a heap.
constexpr size_t kShort = 40;

void merge_short(const MergeTable& table, std::vector<int32_t>& symbols) {
  Merge merges[kShort];
  size_t size = symbols.size();
  for (size_t i = 0; i + 1 < size; ++i) {
    merges[i] = table.find(symbols[i], symbols[i + 1]);
  }
  while (size > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < size; ++i) {
      best = merges[i].rank < merges[best].rank ? i : best;
    }
    if (merges[best].rank == Merge::kNone) {
      break;
    }
    symbols[best] = merges[best].id;
    std::copy(symbols.begin() + static_cast<int64_t>(best) + 2,
              symbols.begin() + static_cast<int64_t>(size),
              symbols.begin() + static_cast<int64_t>(best) + 1);
    std::copy(merges + best + 1, merges + size - 1, merges + best);
    --size;
    if (best > 0) {
      merges[best - 1] = table.find(symbols[best - 1], symbols[best]);
    }
    if (best + 1 < size) {
      merges[best] = table.find(symbols[best], symbols[best + 1]);
    }
  }
  symbols.resize(size);
}

/// A pair that could merge when it was seen; stale if either symbol has changed since.
struct Candidate {
  uint32_t rank;
  uint32_t at;  ///< position of the left symbol
  int32_t left;
  int32_t right;
  int32_t merged;

  bool operator<(const Candidate& other) const {  // std::push_heap keeps the largest on top
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

class LongMerge {
 public:
  LongMerge(const MergeTable& table, std::vector<int32_t>& symbols)
      : table_(table), symbols_(symbols), next_(symbols.size()), previous_(symbols.size()) {
    for (uint32_t i = 0; i < symbols.size(); ++i) {
      previous_[i] = i == 0 ? kEnd : i - 1;
      next_[i] = i + 1 < symbols.size() ? i + 1 : kEnd;
      consider(i);
    }
    std::make_heap(heap_.begin(), heap_.end());
    ready_ = true;
  }

  void run() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate top = heap_.back();
      heap_.pop_back();
      const uint32_t right = next_[top.at];
      if (right != kEnd && symbols_[top.at] == top.left && symbols_[right] == top.right) {
        merge(top, right);
      }
    }
    std::erase(symbols_, kGone);
  }

 private:
  static constexpr uint32_t kEnd = 0xFFFFFFFF;
  static constexpr int32_t kGone = -1;

  void merge(const Candidate& top, uint32_t right) {
    symbols_[top.at] = top.merged;
    symbols_[right] = kGone;
    next_[top.at] = next_[right];
    if (next_[right] != kEnd) {
      previous_[next_[right]] = top.at;
    }
    consider(top.at);
    if (previous_[top.at] != kEnd) {
      consider(previous_[top.at]);
    }
  }

  void consider(uint32_t at) {
    const uint32_t right = next_[at];
    if (right == kEnd) {
      return;
    }
    const Merge found = table_.find(symbols_[at], symbols_[right]);
    if (found.rank == Merge::kNone) {
      return;
    }
    heap_.push_back({found.rank, at, symbols_[at], symbols_[right], found.id});
    if (ready_) {
      std::push_heap(heap_.begin(), heap_.end());
    }
  }

  const MergeTable& table_;
  std::vector<int32_t>& symbols_;
  std::vector<uint32_t> next_;
  std::vector<uint32_t> previous_;
  std::vector<Candidate> heap_;
  bool ready_ = false;
};

}  // namespace

MergeTable::MergeTable(size_t expected) {
  const size_t size = std::bit_ceil(std::max<size_t>(expected * 2, 16));
  entries_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  size_t slot = slot_of(left, right);
  while (entries_[slot].left >= 0 &&
         (entries_[slot].left != left || entries_[slot].right != right)) {
    slot = (slot + 1) & mask_;
  }
  used_ += entries_[slot].left < 0 ? 1 : 0;
  if (used_ * 4 > entries_.size() * 3) {
    throw std::logic_error("MergeTable: more merges than were announced");
  }
  entries_[slot] = {left, right, merge};
}

void merge_symbols(const MergeTable& table, std::vector<int32_t>& symbols) {
  if (symbols.size() < 2) {
    return;
  }
  if (symbols.size() <= kShort) {
    merge_short(table, symbols);
  } else {
    LongMerge(table, symbols).run();
  }
}

}  // namespace sterna::text
