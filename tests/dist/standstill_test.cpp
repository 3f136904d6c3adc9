#include "trainer/dist/standstill.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <latch>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

/// A thread that does something again and again until the object goes.
class Again {
 public:
  explicit Again(const std::function<void()>& act)
      : thread_([this, act] {
          while (!enough_)
            act();
        }) {}
  ~Again() {
    enough_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> enough_ = false;
  std::thread thread_;
};

/// As its watch looks at a process.
class OneThatLooks : public testing::Test {
 protected:
  OneThatLooks() {
    standstill_.leave_out_this_thread();
    standstill_.look(1, 0);  // what was before
    standstill_.forget();
  }

  double look(double since_last, int64_t told = 0) { return standstill_.look(since_last, told); }

  /// Looks until it finds so many seconds, or for a minute.
  double look_for(double seconds) {
    double found = 0;
    for (int i = 0; i < 6000 && found < seconds; ++i) {
      std::this_thread::sleep_for(10ms);
      found = look(1);
    }
    return found;
  }

  Standstill standstill_;
};

using AStandstill = OneThatLooks;

TEST_F(AStandstill, AddsUpWhileNothingIsDone) {
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(look(60), 60);
  EXPECT_EQ(look(60), 120);
  EXPECT_FALSE(standstill_.computes());
  standstill_.forget();
  EXPECT_EQ(look(60), 60);
}

TEST_F(AStandstill, AddsUpWhereAThreadComputesInACircleAsFarAsItHasACore) {
  std::atomic<int64_t> steps = 0;
  const Again circle([&] { ++steps; });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_GE(look_for(0.3), 0.3);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 290ms) << "each look says a second";
  EXPECT_TRUE(standstill_.computes());
}

TEST_F(AStandstill, IsOverWhereTensorsAreComputed) {
  EXPECT_GT(look(60), 0);
  at::ones({2}).add_(1);
  EXPECT_EQ(look(60), 0);
}

TEST_F(AStandstill, IsNotFoundInAThreadThatComputesTensors) {
  const Again work([] { at::ones({64, 64}).mm(at::ones({64, 64})); });
  double longest = 0;
  for (int i = 0; i < 60; ++i) {
    std::this_thread::sleep_for(20ms);
    longest = std::max(longest, look(0.02));
  }
  EXPECT_LT(longest, 0.5);
}

TEST_F(AStandstill, IsOverWhereTheProcessSaysThatItGoesOn) {
  look(1, 7);
  EXPECT_GT(look(1, 7), 0);  // 1, unless a thread of a test before still runs out
  EXPECT_EQ(look(1, 8), 0);
}

TEST_F(AStandstill, IsOverWherePagesOfAFileAreReadThatLieInMemory) {
  look(1);
  constexpr size_t kBytes = 1 << 20;
  void* pages = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  // By another thread than the one that looks.
  std::thread([&] {
    for (size_t at = 0; at < kBytes; at += 4096)
      static_cast<volatile char*>(pages)[at] = 1;
  }).join();
  EXPECT_EQ(look(1), 0);
  munmap(pages, kBytes);
}

TEST_F(AStandstill, AddsUpWhateverItTakesToLookAtManyThreads) {
  std::latch enough(1);
  std::vector<std::thread> waiting;
  for (int i = 0; i < 400; ++i)
    waiting.emplace_back([&] { enough.wait(); });
  for (int i = 0; i < 600 && look(1) < 1; ++i)  // until all of them wait
    std::this_thread::sleep_for(50ms);
  standstill_.forget();
  for (int i = 1; i <= 4; ++i)
    EXPECT_EQ(look(1), i);
  enough.count_down();
  for (std::thread& each : waiting)
    each.join();
}

TEST_F(AStandstill, IsOverWhereFilesAreWritten) {
  look(1);
  look(1);
  std::ofstream("/dev/null") << std::string(1 << 20, 'a') << std::flush;
  EXPECT_EQ(look(1), 0);
}

}  // namespace
}  // namespace sterna::dist
