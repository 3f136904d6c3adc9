#include "trainer/dist/standstill.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sterna::dist {
namespace {

// Of a second: what c10d's own threads need to keep a store and connections alive is less.
constexpr double kLeastComputing = 0.02;
// A second.
constexpr double kLeastBytes = 1 << 16;
constexpr double kLeastPages = 2;

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

rusage use_of(int who) {
  rusage use{};
  getrusage(who, &use);
  return use;
}

struct OtherThreads {
  bool run = false;            ///< one does, or would if it were given a core
  bool wait_for_disk = false;  ///< or for a file server
};

OtherThreads other_threads() {
  OtherThreads found;
  const std::string own = std::to_string(gettid());
  std::error_code error;
  for (std::filesystem::directory_iterator each("/proc/self/task", error), end; each != end;
       each.increment(error)) {
    if (error)
      break;
    if (each->path().filename() == own)
      continue;
    std::ifstream file(each->path() / "stat");
    std::string line;
    std::getline(file, line);
    const size_t name_end = line.rfind(')');
    const char state = name_end + 2 < line.size() ? line[name_end + 2] : 'S';
    found.run = found.run || state == 'R';
    found.wait_for_disk = found.wait_for_disk || state == 'D';
  }
  return found;
}

}  // namespace

void Standstill::leave_out_this_thread() {
  clockid_t clock{};
  if (pthread_getcpuclockid(pthread_self(), &clock) == 0)
    left_out_.push_back(clock);
}

Standstill::Counts Standstill::count(int64_t told) const {
  Counts now;
  now.computed = seconds_on(CLOCK_PROCESS_CPUTIME_ID);
  for (const clockid_t clock : left_out_)
    now.computed -= seconds_on(clock);
  const rusage all = use_of(RUSAGE_SELF);
  now.fetched = all.ru_majflt;
  now.taken = all.ru_minflt - use_of(RUSAGE_THREAD).ru_minflt;
  now.operations = OperationCount::now();
  now.told = told;
  now.moved = bytes_moved();
  return now;
}

bool Standstill::progressed(const Counts& now, double since_last) const {
  return now.told != last_.told || now.fetched != last_.fetched ||
         now.operations != last_.operations ||
         static_cast<double>(now.moved - last_.moved) > kLeastBytes * since_last ||
         static_cast<double>(now.taken - last_.taken) > kLeastPages * since_last;
}

double Standstill::look(double since_last, int64_t told) {
  const Counts now = count(told);
  const OtherThreads others = other_threads();
  const double computed = now.computed - last_.computed;
  const bool goes_on = others.wait_for_disk || progressed(now, since_last);
  last_ = now;
  last_.moved = bytes_moved();  // last: what was read above, of each thread, is no work
  if (goes_on) {
    forget();
    return 0;
  }
  if (!operations_)
    operations_.emplace();
  const bool busy = others.run || computed > kLeastComputing * since_last;
  const double counts = busy ? std::min(computed, since_last) : since_last;
  still_ += counts;
  computing_ += busy ? counts : 0;
  return still_;
}

void Standstill::forget() {
  still_ = 0;
  computing_ = 0;
  operations_.reset();
}

}  // namespace sterna::dist
