#pragma once

#include <filesystem>

namespace sterna::tests {

/// The repository's root: $STERNA_SOURCE_DIR (for programs that were carried to another machine),
/// else where it was when the tests were built. A function, not a macro on the command line, so
/// that the compiler's cache serves every checkout.
std::filesystem::path source_dir();

/// Where `sterna` and the test programs lie: the folder of the running program.
std::filesystem::path binary_dir();

}  // namespace sterna::tests
