#pragma once

#include <cstdlib>
#include <filesystem>

#include "tests/support/paths.h"

namespace sterna::tests {

/// Where the large reference sets lie: $STERNA_DATA, else this default. The only path outside the
/// repository that the project names.
inline std::filesystem::path data_dir() {
  const char* given = std::getenv("STERNA_DATA");
  return given != nullptr ? std::filesystem::path(given) : source_dir() / ".." / "shared" / "data";
}

}  // namespace sterna::tests

/// Skips the running test, with the reason, where `relative` is not among the reference sets.
#define STERNA_REQUIRE_DATA(relative)                                                    \
  if (!std::filesystem::exists(::sterna::tests::data_dir() / (relative)))                \
  GTEST_SKIP() << "reference set absent: " << (::sterna::tests::data_dir() / (relative)) \
               << " (set STERNA_DATA)"
