#pragma once

#include <cstdint>
#include <string_view>

namespace sterna::recipes {

/// FNV-1a, 64 bit: the same in every process and on every machine, as std::hash need not be.
/// @param hash  of what stands before the text
constexpr uint64_t fnv1a(std::string_view text, uint64_t hash = 0xcbf29ce484222325) {
  for (const char c : text)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace sterna::recipes
