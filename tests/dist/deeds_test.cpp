// Ranks of the tests beside this one: processes of this test program, one of which does what a rank
// should not. No test by itself.
#include "tests/dist/deeds.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "recipes/user_error.h"
#include "trainer/dist/group.h"
#include "trainer/dist/local_launcher.h"
#include "trainer/dist/meeting.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

std::atomic<bool> g_starving = false;
std::atomic<bool> g_asked = false;  // to stop
std::atomic<bool> g_told = false;   // that another rank was
std::atomic<int64_t> g_checks = 0;  // how often the work could have stopped

bool exists(const char* file) {
  return file != nullptr && access(file, F_OK) == 0;
}

void compute_for_ever() {
  for (std::atomic<int64_t> i = 0;; ++i) {
  }
}

/// Works for longer than a rank may come no further, by its own clock: it may have a part of a
/// core. @param piece  of the work
void work_long(const std::function<void()>& piece) {
  const auto computed = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec;
  };
  const char* patience = std::getenv(kPatience);
  for (const time_t end = computed() + std::stol(patience) + 2; computed() < end;)
    piece();
}

/// As a rank that dies between telling why and printing it.
[[noreturn]] void tell_and_die(const Launch& launch) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  const Store store = c10::make_intrusive<c10d::TCPStore>(launch.address, options);
  Board(of_attempt(of_job(store, launch.job), 1), launch.size)
      .report({kRankLost, "sterna: the last words of rank 1", launch.rank});
  raise(SIGKILL);
  std::abort();
}

class Deed {
 public:
  Deed(const Launch& launch, Group& group, World& world)
      : launch_(launch), group_(group), world_(world), name_(std::getenv(kDeed)) {}

  /// @return  whether the rank has done its work
  bool behind(int64_t step) {
    if (step == 2)
      (launch_.rank == 1 ? one() : others());
    const bool ends = is("meets") || is("again") || is("leaves") || is("works at a barrier") ||
                      is("tells at a barrier") || is("spins alike");
    return ends && step == 3;
  }

 private:
  bool is(const char* name) const { return name_ == name; }

  void others() {
    if ((is("crash zero") && launch_.rank == 0) || (is("crash both") && launch_.rank == 0))
      std::abort();
    if (name_.ends_with("at a barrier"))
      world_.barrier();
    if (is("spins alike"))
      spin_alike();
  }

  /// As ranks that compute something apart that shows no progress, and come at the same time.
  void spin_alike() {
    const auto end = std::chrono::steady_clock::now() + 8s;
    while (std::chrono::steady_clock::now() < end) {
    }
  }

  void one() {
    if (is("throws"))
      group_.fail(kRankLost, "a disk has a hole");
    if (is("mistakes"))
      group_.fail(2, "a key is wrong");
    if (is("aborts"))
      world_.abort("no way on");
    if (is("sleeps") || is("sleeps at a barrier"))
      std::this_thread::sleep_for(1h);
    if (is("is held at a barrier"))
      raise(SIGSTOP);
    if (is("spins") || is("spins at a barrier"))
      compute_for_ever();
    if (is("works at a barrier")) {
      work_long([] { at::ones({64, 64}).mm(at::ones({64, 64})); });
      world_.barrier();
    }
    if (is("tells at a barrier")) {
      work_long([] { ++g_checks; });
      world_.barrier();
    }
    if (is("spins alike"))
      spin_alike();
    if (is("crashes") || is("crash both"))
      std::abort();
    if (is("dies telling"))
      tell_and_die(launch_);
    if (is("starves")) {
      g_starving = true;
      std::this_thread::sleep_for(1h);
    }
    if (is("fails twice")) {
      static std::atomic<int> ready = 0;
      const auto fail = [this] {
        for (++ready; ready < 5;) {
        }
        group_.fail(kRankLost, "one of five threads");
      };
      for (int i = 0; i < 4; ++i)
        std::thread(fail).detach();
      fail();
    }
    if (is("again") && launch_.restarts == 0) {
      std::cerr << "waiting" << std::endl;
      while (!exists(std::getenv(kGo)))
        std::this_thread::sleep_for(10ms);
      std::abort();
    }
  }

  const Launch& launch_;
  Group& group_;
  World& world_;
  std::string name_;
};

/// What was asked of rank 1 reaches all, who take their time.
int stop_orderly(const Launch& launch, Group& group) {
  constexpr int kTenths = 600;
  g_asked = launch.rank == 1;
  for (int i = 0; i < kTenths && !g_asked && !g_told; ++i)
    std::this_thread::sleep_for(100ms);
  std::this_thread::sleep_for(3s);  // for one that ends the job meanwhile
  std::cerr << (g_asked || g_told ? "ends orderly" : "was not told") << std::endl;
  group.leave(3);
  return 3;
}

/// As ranks of which some were asked to stop while they could end orderly, others twice.
[[noreturn]] void end_apart(const Launch& launch) {
  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGINT);
  sigprocmask(SIG_BLOCK, &asked, nullptr);
  std::cerr << "waiting" << std::endl;
  const timespec limit{60, 0};
  if (sigtimedwait(&asked, nullptr, &limit) != SIGINT)
    _exit(1);
  _exit(launch.rank == 0 ? 3 : 128 + SIGINT);
}

int work_of(const Launch& launch) {
  const char* patience = std::getenv(kPatience);
  Talk talk(launch.rank, std::cout, std::cerr);
  const std::string deed = std::getenv(kDeed);
  if (deed == "ends apart")
    end_apart(launch);
  const auto asked = [&] {
    if (g_starving)
      throw std::bad_alloc();  // in the thread that shows that this rank lives
    return g_asked || (deed == "stops" && launch.rank == 1);
  };
  Group group(launch, talk, {asked, [] { g_told = true; }, [] { return g_checks.load(); }});
  try {
    World& world = group.join(patience == nullptr ? 60 : std::stod(patience));
    if (deed == "stops orderly")
      return stop_orderly(launch, group);
    Deed own(launch, group, world);
    for (int64_t step = 0;; ++step) {
      world.at_step(step);
      world.all_reduce({at::ones({1000})})->wait();
      if (own.behind(step))
        break;
    }
    if (deed == "leaves") {
      std::cerr << "waiting" << std::endl;
      while (!exists(std::getenv(kGo)))
        std::this_thread::sleep_for(10ms);
    }
    if (deed == "again" && launch.rank == 0)
      std::cerr << "beginning " << group.is_restarted() << std::endl;
    group.leave(0);
    return 0;
  } catch (const recipes::UserError& error) {
    group.fail(2, error.what());
  }
}

TEST(RankOfATest, DISABLED_Works) {
  int code = 0;
  try {
    code = work_of(read_launch(process_environment()));
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    code = 2;
  }
  _exit(code);  // without gtest's verdict on one test
}

TEST(LauncherOfATest, DISABLED_Works) {
  LocalJob job;
  job.arguments = {
      "--gtest_also_run_disabled_tests", "--gtest_filter=RankOfATest.*", "--gtest_brief=1"};
  job.ranks = std::atoi(std::getenv(kRanks));
  job.max_restarts = 1;
  _exit(run_local(job, std::cerr));
}

TEST(StoreOfATest, DISABLED_Works) {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  std::cout << "port " << store->getPort() << "." << std::endl;
  std::this_thread::sleep_for(1h);
}

}  // namespace
}  // namespace sterna::dist
