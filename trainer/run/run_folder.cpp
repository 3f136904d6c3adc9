#include "trainer/run/run_folder.h"

#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "recipes/user_error.h"

namespace sterna::run {

namespace fs = std::filesystem;

RunFolder::RunFolder(const fs::path& path) : path_(path) {
  std::error_code error;
  for (const char* part : {"checkpoints", "eval"})
    fs::create_directories(path_ / part, error);
  if (error)
    throw recipes::UserError(path_.string() + ": cannot create the run folder: " + error.message() +
                             "; set run.dir to a folder that can be written");
  const std::string file = (path_ / ".lock").string();
  lock_ = open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (lock_ < 0)
    throw recipes::UserError(file + ": " + std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    close(lock_);
    throw recipes::UserError(path_.string() +
                             ": another process trains in this folder; wait for it or choose "
                             "another run.name");
  }
}

RunFolder::~RunFolder() {
  close(lock_);
}

fs::path RunFolder::eval(const std::string& name) const {
  return path_ / "eval" / (name + ".json");
}

}  // namespace sterna::run
