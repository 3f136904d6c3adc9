#pragma once

#include <string>

namespace sterna::run {

/// What the code calls itself in manifests: "sterna 0.1.0 (commit 6d126c3f12ab, dirty)"; the
/// version alone where it was not built from a git checkout. Its source is written by
/// cmake/commit.cmake.
std::string code_version();

}  // namespace sterna::run
