#include "trainer/dist/idleness.h"

#include <filesystem>
#include <fstream>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sterna::dist {
namespace {

// Of a second: what c10d's own threads need to keep a store and connections alive is less.
constexpr double kLeastComputing = 0.02;
constexpr double kLeastBytes = 1 << 16;

double seconds_on(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

int64_t bytes_moved() {
  std::ifstream counts("/proc/self/io");
  int64_t sum = 0;
  int64_t value = 0;
  for (std::string name; counts >> name >> value;)
    if (name == "rchar:" || name == "wchar:")
      sum += value;
  return sum;
}

int64_t pages_fetched() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return use.ru_majflt;
}

/// That runs, or would if it were given a core, or that a disk or a file server keeps waiting.
bool another_thread_is_busy() {
  const std::string own = std::to_string(gettid());
  std::error_code error;
  for (std::filesystem::directory_iterator each("/proc/self/task", error), end; each != end;
       each.increment(error)) {
    if (error)
      return false;
    if (each->path().filename() == own)
      continue;
    std::ifstream file(each->path() / "stat");
    std::string line;
    std::getline(file, line);
    const size_t name_end = line.rfind(')');
    const char state = name_end + 2 < line.size() ? line[name_end + 2] : 'S';
    if (state == 'R' || state == 'D')
      return true;
  }
  return false;
}

}  // namespace

void Idleness::leave_out_this_thread() {
  clockid_t clock{};
  if (pthread_getcpuclockid(pthread_self(), &clock) == 0)
    left_out_.push_back(clock);
}

double Idleness::computed() const {
  double seconds = seconds_on(CLOCK_PROCESS_CPUTIME_ID);
  for (const clockid_t clock : left_out_)
    seconds -= seconds_on(clock);
  return seconds;
}

double Idleness::look(double since_last) {
  const double computed_now = computed();
  const int64_t fetched_now = pages_fetched();
  const auto moved_since = static_cast<double>(bytes_moved() - moved_);
  const bool worked = another_thread_is_busy() ||
                      computed_now - computed_ > kLeastComputing * since_last ||
                      moved_since > kLeastBytes * since_last || fetched_now != fetched_;
  computed_ = computed_now;
  fetched_ = fetched_now;
  idle_ = worked ? 0 : idle_ + since_last;
  moved_ = bytes_moved();  // last: what was read above, of each thread, is no work
  return idle_;
}

}  // namespace sterna::dist
