#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sterna::io {

/// A file that appears under its name only when complete: bytes go to a sibling, commit() fsyncs
/// it, renames it over `path` and fsyncs the folder. Destroyed before commit(), it leaves nothing.
class AtomicFile {
 public:
  /// @throws FileError  here and below with errno's text and a remedy
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path sibling_;
  int file_ = -1;
};

/// Writes `text` through an AtomicFile: a reader sees the old file or the whole new one.
void write_atomically(const std::filesystem::path& path, std::string_view text);

/// Makes an empty folder beside `target` that no other process fills, for publish_folder().
std::filesystem::path make_draft_folder(const std::filesystem::path& target);

/// Flushes the files of a finished folder, renames it onto `target` (which must not exist) and
/// fsyncs the parent. @throws FileError
void publish_folder(const std::filesystem::path& finished, const std::filesystem::path& target);

/// Flushes a file or folder to the disk.
void sync_path(const std::filesystem::path& path);

/// The whole of a small text file. @throws FileError  if it cannot be read or exceeds `limit` bytes
std::string read_text(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 30);

}  // namespace sterna::io
