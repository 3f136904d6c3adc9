#include "trainer/io/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

namespace {

[[noreturn]] void fail_open(const std::filesystem::path& path, const std::string& why) {
  throw FileError(path.string() + ": cannot be opened (" + why + "); check the path");
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    fail_open(path, std::strerror(errno));
  struct stat status {};
  const bool known = ::fstat(file, &status) == 0;
  if (!known || !S_ISREG(status.st_mode) || status.st_size == 0) {
    ::close(file);
    fail_open(path, known && S_ISREG(status.st_mode) ? "the file is empty" : "not a regular file");
  }
  const size_t size = static_cast<size_t>(status.st_size);
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  const int error = errno;
  ::close(file);
  if (start == MAP_FAILED)
    fail_open(path, std::string("mmap: ") + std::strerror(error));
  bytes_ = {static_cast<const std::byte*>(start), size};
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void release_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + bytes.size()) / page * page;
  if (first < last)
    ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void MappedFile::fail(uint64_t offset, const std::string& check) const {
  throw FileError(path_.string() + ": " + check + " (at byte " + std::to_string(offset) + " of " +
                  std::to_string(bytes_.size()) +
                  "); the file is damaged or cut short: fetch or export it again");
}

}  // namespace sterna::io
