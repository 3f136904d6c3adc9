#pragma once

#include <filesystem>
#include <string>

namespace sterna::io {

/// Name of the file that lists a folder's files with their SHA-256, as `sha256sum -c` reads it.
inline constexpr const char* kChecksums = "SHA256SUMS";

/// Content of that file: "<64 hex digits>  <name>\n" of every file below `folder`, by name, but of
/// the list itself and of certificate.json, which comes later.
std::string checksums_of(const std::filesystem::path& folder);

/// Hashes every file that a folder's list names; does nothing where there is no list.
/// @throws FileError  naming the first file that is missing or differs, and what to do
void require_checksums(const std::filesystem::path& folder);

}  // namespace sterna::io
