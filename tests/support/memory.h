#pragma once

#include <cstdint>
#include <fstream>
#include <malloc.h>
#include <string>

namespace sterna::tests {

/// What this process grows by at most, from the object's making on.
class PeakMemory {
 public:
  PeakMemory() {
#ifdef __GLIBC__
    malloc_trim(0);  // else what was freed before hides what is asked for now
#endif
    reset();
    before_ = resident("VmRSS");
  }

  /// False where the kernel does not let us reset the high-water mark, and under AddressSanitizer,
  /// which keeps what was freed.
  static bool measurable() {
#ifdef __SANITIZE_ADDRESS__
    return false;
#else
    return reset();
#endif
  }

  int64_t bytes() const {
    return resident("VmHWM") - before_;
  }

 private:
  static bool reset() {
    std::ofstream file("/proc/self/clear_refs");
    file << "5" << std::flush;
    return file.good();
  }
  static int64_t resident(const std::string& field) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with(field + ":"))
        return std::stoll(line.substr(field.size() + 1)) * 1024;
    return 0;
  }

  int64_t before_ = 0;
};

}  // namespace sterna::tests
