#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/temp_folder.h"

namespace sterna::tests::fuzz {

/// A file in memory with a path: a million files on a disk would take hours.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("fuzz", 0)) {}
  ~MemoryFile() { ::close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(file_); }

  const std::filesystem::path& hold(const std::string& bytes) {
    if (::ftruncate(file_, 0) != 0 ||
        ::pwrite(file_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("no memory for an input");
    return path_;
  }

 private:
  int file_;
  std::filesystem::path path_ = path();
};

/// A folder in which one file changes and the others stay.
class MemoryFolder {
 public:
  explicit MemoryFolder(const std::string& name) {
    std::filesystem::create_symlink(file_.path(), folder_ / name);
  }

  const std::filesystem::path& path() const { return folder_; }

  const std::filesystem::path& hold(const std::string& bytes) {
    file_.hold(bytes);
    return folder_;
  }

 private:
  MemoryFile file_;
  TempFolder folder_;
};

}  // namespace sterna::tests::fuzz
