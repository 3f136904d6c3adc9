#include "trainer/io/atomic_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& doing) {
  const int error = errno;
  throw FileError(path.string() + ": " + doing + " failed (" + std::strerror(error) +
                  "); check the folder's permissions and the free space of its disk");
}

constexpr int kMostDrafts = 1000;

std::string draft_of(const fs::path& path, int number) {
  return path.string() + ".tmp-" + std::to_string(::getpid()) +
         (number == 0 ? "" : "-" + std::to_string(number));
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  // The process id alone is no name: in containers that share a disk all may be process 1.
  for (int number = 0; file_ < 0; ++number) {
    sibling_ = draft_of(path, number);
    file_ = ::open(sibling_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0 && (errno != EEXIST || number == kMostDrafts))
      fail(path_, "creating the file");
  }
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0)
    ::close(file_);
  if (!sibling_.empty())
    ::unlink(sibling_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      fail(path_, "writing");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (::fsync(file_) != 0)
    fail(path_, "flushing to the disk");
  const int file = file_;
  file_ = -1;
  if (::close(file) != 0)
    fail(path_, "closing");
  if (::rename(sibling_.c_str(), path_.c_str()) != 0)
    fail(path_, "renaming the finished file");
  sibling_.clear();
  sync_path(folder_of(path_));
}

void write_atomically(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text.data(), text.size())));
  file.commit();
}

fs::path make_draft_folder(const fs::path& target) {
  for (int number = 0; number <= kMostDrafts; ++number) {
    const fs::path draft = draft_of(target, number);
    if (fs::create_directory(draft))
      return draft;
  }
  throw FileError(target.string() + ": too many unfinished folders beside it; remove " +
                  draft_of(target, 0) + " and its like");
}

void publish_folder(const fs::path& finished, const fs::path& target) {
  for (const auto& entry : fs::recursive_directory_iterator(finished)) {
    if (entry.is_regular_file() || entry.is_directory())
      sync_path(entry.path());
  }
  sync_path(finished);
  if (fs::symlink_status(target).type() != fs::file_type::not_found)
    throw FileError(target.string() + ": exists already; choose another folder or remove it");
  // NOREPLACE closes the gap between the look above and the rename; some file systems lack it.
  if (::renameat2(AT_FDCWD, finished.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0 &&
      (errno != EINVAL || ::rename(finished.c_str(), target.c_str()) != 0))
    fail(target, "renaming the finished folder");
  sync_path(folder_of(target));
}

void sync_path(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    fail(path, "opening");
  const int result = ::fsync(file);
  const int error = errno;
  ::close(file);
  errno = error;
  // A file system that cannot fsync folders says EINVAL; there is nothing more to be done.
  if (result != 0 && error != EINVAL)
    fail(path, "flushing to the disk");
}

std::string read_text(const fs::path& path, uint64_t limit) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error)
    throw FileError(path.string() + ": cannot be read (" + error.message() + "); check the path");
  if (size > limit) {
    throw FileError(path.string() + ": " + std::to_string(size) + " bytes, more than the " +
                    std::to_string(limit) + " that such a file may hold");
  }
  std::string text(size, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(size)))
    throw FileError(path.string() + ": could not be read whole; is it still being written?");
  return text;
}

}  // namespace sterna::io
