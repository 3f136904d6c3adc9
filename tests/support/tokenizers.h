#pragma once

#include <filesystem>

#include "recipes/paths.h"
#include "tests/support/paths.h"

namespace sterna::tests {

/// The small tokenizers made by scripts/golden/make_tokenizers.py.
inline std::filesystem::path golden_tokenizers() {
  return source_dir() / "tests/golden/tokenizers";
}

/// Where scripts/test puts SmolLM2.
inline std::filesystem::path smollm2() {
  return recipes::cache_dir() / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

}  // namespace sterna::tests

#define STERNA_REQUIRE_SMOLLM2()                            \
  if (!std::filesystem::exists(::sterna::tests::smollm2())) \
  GTEST_SKIP() << "model absent: " << ::sterna::tests::smollm2() << " (scripts/test installs it)"
