#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sterna::io {

/// Writes `text` beside `path`, fsyncs, renames over `path` and fsyncs the folder: a reader sees
/// the old file or the whole new one. @throws FileError  with errno's text and a remedy
void write_atomically(const std::filesystem::path& path, std::string_view text);

/// Renames a finished folder onto `target` (which must not exist) and fsyncs the parent.
void publish_folder(const std::filesystem::path& finished, const std::filesystem::path& target);

/// Flushes a file or folder to the disk.
void sync_path(const std::filesystem::path& path);

/// The whole of a small text file. @throws FileError  if it cannot be read or exceeds `limit` bytes
std::string read_text(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 30);

}  // namespace sterna::io
