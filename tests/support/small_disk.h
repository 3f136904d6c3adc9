#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/support/temp_folder.h"

namespace sterna::tests {

/// A disk of few bytes in memory, mounted where only this process and its children see it.
class SmallDisk {
 public:
  explicit SmallDisk(int64_t kibibytes) {
    if (!alone())
      return;
    const std::string size = size_text(kibibytes);
    mounted_ = ::mount("tmpfs", path().c_str(), "tmpfs", 0, size.c_str()) == 0;
    why_not_ = mounted_ ? "" : std::strerror(errno);
  }
  ~SmallDisk() {
    if (mounted_)
      ::umount2(path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  bool mounted() const { return mounted_; }
  std::string why_not() const { return "no disk can be mounted here: " + why_not_; }

  bool resize(int64_t kibibytes) const {
    return ::mount("tmpfs", path().c_str(), "tmpfs", MS_REMOUNT, size_text(kibibytes).c_str()) == 0;
  }
  bool make_read_only() const {
    return ::mount("tmpfs", path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  static std::string size_text(int64_t kibibytes) {
    return "size=" + std::to_string(kibibytes) + "k";
  }

  static void write_to(const char* file, const std::string& text) { std::ofstream(file) << text; }

  /// Gives this process mounts of its own, as root or as a user who becomes root among them.
  bool alone() {
    static const int error = [] {
      const std::string user = "0 " + std::to_string(::getuid()) + " 1";
      const std::string group = "0 " + std::to_string(::getgid()) + " 1";
      if (::unshare(CLONE_NEWNS) != 0) {
        if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
          return errno;
        write_to("/proc/self/setgroups", "deny");
        write_to("/proc/self/uid_map", user);
        write_to("/proc/self/gid_map", group);
      }
      return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 ? 0 : errno;
    }();
    why_not_ = std::strerror(error);
    return error == 0;
  }

  TempFolder folder_;
  bool mounted_ = false;
  std::string why_not_;
};

}  // namespace sterna::tests

/// Skips a test where the machine allows no mounts.
#define STERNA_REQUIRE_DISK(disk) \
  if (!(disk).mounted())          \
  GTEST_SKIP() << (disk).why_not()
