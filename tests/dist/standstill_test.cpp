#include "trainer/dist/idleness.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

TEST(Idleness, AddsUpWhileNothingIsDone) {
  Idleness idleness;
  idleness.leave_out_this_thread();
  idleness.look(60);  // what was before
  idleness.forget();
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(idleness.look(60), 60);
  EXPECT_EQ(idleness.look(60), 120);
  idleness.forget();
  EXPECT_EQ(idleness.look(60), 60);
}

TEST(Idleness, IsOverWhereAThreadComputes) {
  Idleness idleness;
  idleness.leave_out_this_thread();
  idleness.look(60);
  idleness.look(60);
  std::atomic<bool> enough = false;
  std::thread busy([&] {
    for (int64_t i = 0; !enough; ++i) {
    }
  });
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(idleness.look(60), 0) << "it has a core, or waits for one";
  enough = true;
  busy.join();
}

TEST(Idleness, AddsUpWhateverItTakesToLookAtManyThreads) {
  std::latch enough(1);
  std::vector<std::thread> waiting;
  for (int i = 0; i < 400; ++i)
    waiting.emplace_back([&] { enough.wait(); });
  Idleness idleness;
  idleness.leave_out_this_thread();
  for (int i = 0; i < 600 && idleness.look(1) == 0; ++i)  // until all of them wait
    std::this_thread::sleep_for(50ms);
  idleness.forget();
  for (int i = 1; i <= 4; ++i)
    EXPECT_EQ(idleness.look(1), i);
  enough.count_down();
  for (std::thread& each : waiting)
    each.join();
}

TEST(Idleness, IsOverWhereFilesAreWritten) {
  Idleness idleness;
  idleness.leave_out_this_thread();
  idleness.look(1);
  idleness.look(1);
  std::ofstream("/dev/null") << std::string(1 << 20, 'a') << std::flush;
  EXPECT_EQ(idleness.look(1), 0);
}

}  // namespace
}  // namespace sterna::dist
