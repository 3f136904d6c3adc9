#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sterna::io {

/// A whole file mapped for reading; unmapped on destruction.
class MappedFile {
 public:
  /// @throws FileError  where the file is absent, no regular file, empty or not readable
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

  /// Throws FileError "<path>: <check> (at byte <offset>)", with the remedy for a damaged file.
  [[noreturn]] void fail(uint64_t offset, const std::string& check) const;

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

/// Gives back the memory of mapped pages that lie wholly in `bytes`; whoever reads them again gets
/// them from the file.
void release_pages(std::span<const std::byte> bytes);

}  // namespace sterna::io
