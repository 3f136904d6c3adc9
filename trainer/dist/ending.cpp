#include "trainer/dist/ending.h"

#include <chrono>
#include <thread>
#include <unistd.h>

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// How long a rank that serves the store stays for the others to read why the job ends.
constexpr auto kLinger = 3s;

}  // namespace

void Ending::lose(const std::string& text) {
  fail({kRankLost,
        "sterna: " + text + ". Noticed by rank " + std::to_string(self_.rank) + " on " +
            self_.host +
            "; every rank ends. --resume goes on from the newest complete checkpoint"});
}

void Ending::fail(const Failure& failure) {
  bool first = false;
  try {
    first = board_.report(failure);
    if (!first)
      if (const auto before = board_.failure())
        follow(*before);
  } catch (const std::exception& error) {
    talk_.note(failure.text);
    without_store(error.what());
  }
  finish(failure, first);
}

void Ending::follow(const Failure& failure) {
  finish(failure, /*first=*/false);
}

/// One thread of the process ends it; should that one be held by the store, the next one does.
void Ending::claim(int code) {
  if (ending_.exchange(true)) {
    std::this_thread::sleep_for(kLinger + 2s);
    _exit(code_);
  }
  code_ = code;
}

void Ending::without_store(const std::string& complaint) {
  claim(kRankLost);
  const Sign own = own_();
  const std::string text = "sterna: rank " + std::to_string(self_.rank) + " on " + self_.host +
                           " has lost the store of the job, which " +
                           (self_.rank == 0 ? "its launcher" : "rank 0 or the launcher") +
                           " serves: that process died, is held, or cannot be reached (" +
                           first_line(complaint) + "); " + step_text(own) + ", " +
                           (own.begun > own.ended ? "inside " : "behind ") + collective_text(own);
  // Nobody is there to agree on who says so: the first rank behind the store does.
  if (self_.rank <= 1)
    talk_.complain(text);
  else
    talk_.note(text);
  _exit(kRankLost);
}

void Ending::finish(const Failure& failure, bool first) {
  claim(failure.code);
  if (first)
    talk_.complain(failure.text);
  else
    talk_.note(failure.text);
  try {
    board_.leave();
    const auto start = Clock::now();
    while (self_.hosts_store && board_.left() < board_.size() && Clock::now() - start < kLinger)
      std::this_thread::sleep_for(50ms);
  } catch (const std::exception& error) {
    talk_.note(error.what());
  }
  // Destructors of c10d wait for peers that are gone.
  _exit(failure.code);
}

}  // namespace sterna::dist
