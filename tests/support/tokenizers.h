#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "tests/support/paths.h"

namespace sterna::tests {

/// The small tokenizers made by scripts/golden/make_tokenizers.py.
inline std::filesystem::path golden_tokenizers() {
  return source_dir() / "tests/golden/tokenizers";
}

/// Where scripts/test puts SmolLM2.
inline std::filesystem::path smollm2() {
  const char* cache = std::getenv("STERNA_CACHE");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder =
      cache != nullptr ? std::filesystem::path(cache)
                       : std::filesystem::path(home == nullptr ? "" : home) / ".cache/sterna";
  return folder / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

}  // namespace sterna::tests

#define STERNA_REQUIRE_SMOLLM2()                            \
  if (!std::filesystem::exists(::sterna::tests::smollm2())) \
  GTEST_SKIP() << "model absent: " << ::sterna::tests::smollm2() << " (scripts/test installs it)"
