#include "trainer/cli/threads.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <unistd.h>

#include <ATen/Parallel.h>

#include "trainer/run/config.h"

namespace sterna::cli {
namespace {

int64_t threads_of_environment() {
  const char* text = std::getenv("STERNA_THREADS");
  if (text == nullptr || *text == '\0')
    return 0;
  const char* end = text + std::strlen(text);
  int64_t threads = 0;
  const auto [stop, error] = std::from_chars(text, end, threads);
  if (error != std::errc() || stop != end || threads < 0 || threads > run::kMostThreads)
    throw recipes::UserError("STERNA_THREADS: expected a number from 0 to " +
                             std::to_string(run::kMostThreads) + ", found '" + text + "'");
  return threads;
}

}  // namespace

void use_threads(int64_t wanted) {
  const int64_t threads = wanted > 0 ? wanted : threads_of_environment();
  if (threads > 0)
    at::set_num_threads(static_cast<int>(threads));
}

void share_cores(int64_t ranks) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr)
    return;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  const bool known = sched_getaffinity(0, sizeof cores, &cores) == 0;
  const int64_t own = known ? CPU_COUNT(&cores) : 1;
  // Where a launcher has bound each rank to cores of its own, they are shared out already.
  const bool bound = own * ranks <= sysconf(_SC_NPROCESSORS_ONLN);
  at::set_num_threads(static_cast<int>(std::max<int64_t>(1, bound ? own : own / ranks)));
}

}  // namespace sterna::cli
