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
// Longer than any orderly end.
constexpr auto kPatience = kLinger + 2s;

/// A file system that hangs must not keep a process.
void end_soon(int code) {
  try {
    std::thread([code] {
      std::this_thread::sleep_for(kPatience);
      _exit(code);
    }).detach();
  } catch (const std::exception&) {  // no thread can be had: then without
  }
}

}  // namespace

void Ending::lose(const std::string& text) {
  fail({kRankLost,
        "sterna: " + text + ". Noticed by rank " + std::to_string(self_.rank) + " on " +
            self_.host +
            "; every rank ends. --resume goes on from the newest complete checkpoint"});
}

void Ending::fail(Failure failure) {
  failure.by = self_.rank;
  claim(failure);
  Failure counts;
  try {
    counts = board_.report(failure);
  } catch (const std::exception& error) {
    talk_.note(std::string("the store does not take it: ") + error.what());
    say_alone(failure);
    _exit(failure.code);
  }
  finish(counts, counts.by == self_.rank && !self_.launcher_speaks);
}

void Ending::follow(const Failure& failure) {
  claim(failure);
  finish(failure, /*aloud=*/false);
}

/// One thread of the process ends it. Should that one be held, by a store that does not answer, the
/// next one does.
void Ending::claim(const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (!ending_) {
      ending_ = failure;
      return;
    }
  }
  std::this_thread::sleep_for(kPatience);
  std::unique_lock lock(mutex_);
  const Failure first = *ending_;
  const bool said = said_;
  lock.unlock();
  if (!said)
    say_alone(first);
  _exit(first.code);
}

void Ending::say(const std::string& text, bool aloud) {
  {
    const std::lock_guard lock(mutex_);
    said_ = true;
  }
  if (aloud)
    talk_.complain(text);
  else
    talk_.note(text);
}

/// Nobody can be asked who says it: the first that makes a file in the run's folder does.
void Ending::say_alone(const Failure& failure) {
  end_soon(failure.code);
  say(failure.text, talk_.is_first("lost-" + self_.attempt));
}

void Ending::work_is_done(int code) {
  const std::lock_guard lock(mutex_);
  done_ = code;
}

void Ending::without_store(const std::string& complaint) {
  const Sign own = own_();
  const std::string text = "sterna: rank " + std::to_string(self_.rank) + " on " + self_.host +
                           " has lost the store of the job, which " +
                           (self_.rank == 0 ? "its launcher" : "rank 0 or the launcher") +
                           " serves: that process died, is held, or cannot be reached (" +
                           first_line(complaint) + "); " + step_text(own) + ", " +
                           (own.begun > own.ended ? "inside " : "behind ") + collective_text(own);
  const Failure gone{kRankLost, text, self_.rank};
  claim(gone);
  std::unique_lock lock(mutex_);
  const std::optional<int> done = done_;
  lock.unlock();
  if (done) {
    talk_.note("left without the store: " + first_line(complaint));
    _exit(*done);
  }
  say_alone(gone);
  _exit(kRankLost);
}

void Ending::finish(const Failure& failure, bool aloud) {
  say(failure.text, aloud);
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
