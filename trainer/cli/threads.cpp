#include "trainer/cli/threads.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

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

}  // namespace sterna::cli
