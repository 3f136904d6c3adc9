// Times opening a checkpoint on one thread: load_bench CHECKPOINT [fp32|bf16] [times]. Prints the
// median of each part in milliseconds, by the clock and of the processor: what it is (and whether
// whole), its tokenizer, its weights.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include <ATen/Parallel.h>

#include "trainer/model/load.h"
#include "trainer/model/same_tokens.h"

namespace {

using namespace sterna;

struct Times {
  std::vector<double> clock;
  std::vector<double> processor;
};

double processor_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

template <class Work>
auto timed(Times& times, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  const double before = processor_ms();
  auto result = work();
  times.processor.push_back(processor_ms() - before);
  const std::chrono::duration<double, std::milli> passed = std::chrono::steady_clock::now() - start;
  times.clock.push_back(passed.count());
  return result;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

void print(const char* part, const Times& times) {
  std::printf(
      "%-10s %7.0f ms, processor %7.0f ms\n", part, median(times.clock), median(times.processor));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return 2;
  const bool wide = argc > 2 && std::strcmp(argv[2], "fp32") == 0;
  const int times = argc > 3 ? std::atoi(argv[3]) : 7;
  at::set_num_threads(1);
  Times all, inspected, tokens, weights;
  for (int i = 0; i < times; ++i) {
    timed(all, [&] {
      const auto info = timed(inspected, [&] { return model::inspect(argv[1]); });
      const auto tokenizer = timed(tokens, [&] { return model::open_tokenizer(info); });
      return timed(weights,
                   [&] { return model::load_decoder(info, wide ? at::kFloat : at::kBFloat16); });
    });
  }
  print("inspect", inspected);
  print("tokenizer", tokens);
  print("weights", weights);
  print("all", all);
}
