#include "tests/fuzz/campaign.h"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/fuzz/allocation.h"
#include "tests/fuzz/mutator.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace sterna::tests::fuzz {
namespace {

constexpr int kHangSeconds = 60;

// For handlers, which may neither allocate nor reach an object of ours.
const std::string* current = nullptr;
std::string fault_path;

void write_current() {
  const std::string* input = current;
  if (input == nullptr)
    return;
  const int file = ::open(fault_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file < 0)
    return;
  const ssize_t written = ::write(file, input->data(), input->size());
  (void)written;
  ::close(file);
}

extern "C" void die(int signal) {
  write_current();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

/// Keeps the current input where the process ends in it.
class Watch {
 public:
  explicit Watch(const std::filesystem::path& fault) {
    fault_path = fault.string();
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(write_current);
#else
    ::signal(SIGSEGV, die);
    ::signal(SIGABRT, die);
#endif
    ::signal(SIGPROF, die);
  }
  ~Watch() {
    limit(0);
    current = nullptr;
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void begin(const std::string& input) {
    current = &input;
    limit(kHangSeconds);
  }

 private:
  static void limit(int seconds) {
    const itimerval timer{{0, 0}, {seconds, 0}};  // of processor time: the machine may be busy
    ::setitimer(ITIMER_PROF, &timer, nullptr);
  }
};

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void feed_one(const Target& target, const std::string& input, Outcome& outcome) {
  const double start = processor_seconds();
  const AllocationMeter meter;
  (target.feed(input) ? outcome.accepted : outcome.refused) += 1;
  const int64_t bytes = meter.peak();
  const double seconds = processor_seconds() - start;
  const auto size = static_cast<int64_t>(input.size()) + 1;
  outcome.most_bytes = std::max(outcome.most_bytes, bytes);
  outcome.most_per_byte = std::max(
      outcome.most_per_byte, static_cast<double>(bytes - kFixedBytes) / static_cast<double>(size));
  outcome.most_seconds = std::max(outcome.most_seconds, seconds);
  if (bytes > kFixedBytes + kBytesPerByte * size)
    outcome.failure = "allocates " + std::to_string(bytes) + " bytes for an input of " +
                      std::to_string(input.size());
  else if (seconds > kMostSeconds)
    outcome.failure = "takes " + std::to_string(seconds) + " seconds";
}

}  // namespace

Outcome run_campaign(const Target& target,
                     int64_t count,
                     uint64_t number,
                     const std::filesystem::path& fault) {
  Watch watch(fault);
  const std::vector<std::string> seeds = target.seeds();
  for (const std::string& seed : seeds)
    target.feed(seed);  // what is made once is made here
  Mutator mutator(seeds, number);
  Outcome outcome;
  for (int64_t i = 0; i < count && outcome.failure.empty(); ++i) {
    const std::string input = mutator.next();
    watch.begin(input);
    try {
      feed_one(target, input, outcome);
    } catch (const std::exception& error) {
      outcome.failure = std::string("throws what is no user's error: ") + error.what();
    }
    if (!outcome.failure.empty())
      write_current();
  }
  return outcome;
}

}  // namespace sterna::tests::fuzz
