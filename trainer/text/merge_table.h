#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sterna::text {

/// What two neighbouring symbols merge to.
struct Merge {
  uint32_t rank = kNone;  ///< smaller merges first
  int32_t id = -1;

  static constexpr uint32_t kNone = 0xFFFFFFFF;
};

/// Merges by pair of symbols: open addressing, one cache line a look-up.
class MergeTable {
 public:
  explicit MergeTable(size_t expected = 0);

  /// A later rule for the same pair replaces the earlier one.
  void set(int32_t left, int32_t right, Merge merge);

  /// Rank kNone where the pair does not merge.
  Merge find(int32_t left, int32_t right) const {
    for (size_t slot = slot_of(left, right);; slot = (slot + 1) & mask_) {
      const Entry& entry = entries_[slot];
      if (entry.left == left && entry.right == right) {
        return entry.merge;
      }
      if (entry.left < 0) {
        return {};
      }
    }
  }

 private:
  struct Entry {
    int32_t left = -1;
    int32_t right = -1;
    Merge merge;
  };

  size_t slot_of(int32_t left, int32_t right) const {
    const uint64_t key =
        static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift_) & mask_;
  }

  std::vector<Entry> entries_;
  size_t mask_ = 0;
  size_t used_ = 0;
  int shift_ = 0;
};

/// Merges neighbours in `symbols`, the lowest rank first and of equal ranks the leftmost, until
/// none merges.
void merge_symbols(const MergeTable& table, std::vector<int32_t>& symbols);

}  // namespace sterna::text
