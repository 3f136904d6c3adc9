// Preloaded into a program: its wall clock jumps by years, forth and back, at every look; the clock
// that only counts on is left alone.
#include <atomic>
#include <ctime>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

time_t jump() {
  constexpr time_t kYear = 365 * 24 * 3600;
  constexpr time_t kJumps[] = {0, kYear, -kYear, 10 * kYear, -20 * kYear};
  static std::atomic<unsigned> looks{0};
  return kJumps[looks++ % 5];
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
    now->tv_sec += jump();
  return result;
}

int gettimeofday(timeval* now, void* /*zone*/) noexcept {
  timespec precise{};
  const int result = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return result;
}

time_t time(time_t* now) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now != nullptr)
    *now = precise.tv_sec;
  return precise.tv_sec;
}

}  // extern "C"
