#include "trainer/run/run_folder.h"

#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "recipes/user_error.h"

namespace sterna::run {

namespace fs = std::filesystem;

namespace {

using recipes::UserError;

/// "process 4711", if the holder could write down who it is.
std::string holder_of(int lock) {
  char text[32] = {};
  const ssize_t size = ::pread(lock, text, sizeof text - 1, 0);
  const bool number = size > 0 && std::strspn(text, "0123456789") == static_cast<size_t>(size);
  return number ? "process " + std::string(text) : "another process";
}

void sign(int lock) {
  const std::string text = std::to_string(::getpid());
  // A full disk is told of where it matters; the lock holds without a name in it.
  if (::ftruncate(lock, 0) == 0 &&
      ::pwrite(lock, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    (void)!::ftruncate(lock, 0);
}

[[noreturn]] void fail_to_create(const fs::path& path, const std::string& why) {
  throw UserError(path.string() + ": cannot create the run folder: " + why +
                  "; set run.dir to a folder that can be written, on a disk with free space");
}

}  // namespace

RunFolder::RunFolder(const fs::path& path, bool hold) : path_(path) {
  if (!hold)
    return;
  std::error_code error;
  for (const char* part : {"checkpoints", "eval"})
    if (!error)
      fs::create_directories(path_ / part, error);
  if (error)
    fail_to_create(path_, error.message());
  const std::string file = (path_ / ".lock").string();
  lock_ = open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (lock_ < 0)
    fail_to_create(file, std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const int why = errno;
    const std::string holder = holder_of(lock_);
    close(lock_);
    if (why != EWOULDBLOCK)
      fail_to_create(file, std::string("no lock can be had: ") + std::strerror(why));
    throw UserError(path_.string() + ": " + holder + " trains in this folder (it holds " + file +
                    "); wait for it or choose another run.name");
  }
  sign(lock_);
}

RunFolder::~RunFolder() {
  if (lock_ >= 0)
    close(lock_);
}

fs::path RunFolder::eval(const std::string& name) const {
  return path_ / "eval" / (name + ".json");
}

}  // namespace sterna::run
