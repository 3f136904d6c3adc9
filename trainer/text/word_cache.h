#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace sterna::text {

/// Ids of words seen lately, one cache line each; a word replaces the one before it in its slot.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 23;
  static constexpr size_t kMaxIds = 9;

  WordCache() : entries_(size_t{1} << kBits) {}

  /// The word's place, found or about to be overwritten. The word has at most kMaxBytes bytes.
  struct Place {
    size_t slot = 0;
    std::array<uint64_t, 3> key{};
    bool hit = false;
  };

  Place find(std::string_view word) const {
    Place place;
    std::memcpy(place.key.data(), word.data(), word.size());
    // The length fills the last byte, so that no word equals an empty slot.
    place.key[2] |= static_cast<uint64_t>(word.size()) << 56;
    uint64_t hash = place.key[0] * 0x9E3779B97F4A7C15u ^ place.key[1] * 0xC2B2AE3D27D4EB4Fu ^
                    place.key[2] * 0x165667B19E3779F9u;
    hash ^= hash >> 29;
    place.slot = static_cast<size_t>(hash * 0xBF58476D1CE4E5B9u >> (64 - kBits));
    place.hit = entries_[place.slot].key == place.key;
    return place;
  }

  std::span<const int32_t> ids(const Place& place) const {
    const Entry& entry = entries_[place.slot];
    return {entry.ids.data(), static_cast<size_t>(entry.count)};
  }

  void store(const Place& place, std::span<const int32_t> ids) {
    if (ids.size() > kMaxIds) {
      return;
    }
    Entry& entry = entries_[place.slot];
    entry.key = place.key;
    entry.count = static_cast<int32_t>(ids.size());
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
  }

 private:
  static constexpr int kBits = 14;

  struct Entry {
    std::array<uint64_t, 3> key{};
    std::array<int32_t, kMaxIds> ids{};
    int32_t count = 0;
  };
  static_assert(sizeof(Entry) == 64);

  std::vector<Entry> entries_;
};

}  // namespace sterna::text
