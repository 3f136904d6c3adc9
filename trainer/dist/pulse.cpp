#include "trainer/dist/pulse.h"

#include <algorithm>
#include <unistd.h>

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

// How long a rank that serves the store stays for the others to read why the job ends.
constexpr auto kLinger = 3s;
// Beats, and seconds, in which a rank that lives is seen to.
constexpr double kBeatsToShow = 4;
constexpr double kShowSeconds = 3;

double seconds_between(std::chrono::steady_clock::time_point a,
                       std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

std::string seconds_text(double seconds) {
  return std::to_string(static_cast<int64_t>(seconds + 0.5)) + " s";
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

bool alive(const std::optional<Sign>& before, const std::optional<Sign>& now) {
  return now && (now->left || !before || now->beat != before->beat);
}

}  // namespace

Pulse::Pulse(Board board, const PulseOf& of, Talk& talk)
    : board_(std::move(board)), of_(of), talk_(talk) {
  sign_.host = of.host;
  sign_.process = getpid();
  if (of_.rank != 0)
    talk_.on_warning([this](const std::string& line) {
      try {
        board_.warn("[rank " + std::to_string(of_.rank) + "] " + line);
      } catch (const std::exception& error) {
        talk_.note(std::string("could not be handed on: ") + error.what());
      }
    });
  board_.put(of_.rank, snapshot());
  beating_ = std::thread([this] { beat(); });
  watching_ = std::thread([this] { watch_over(); });
}

Pulse::~Pulse() {
  stop();
}

void Pulse::stop() {
  talk_.on_warning({});
  {
    const std::lock_guard lock(stop_mutex_);
    stopped_ = true;
  }
  stop_changed_.notify_all();
  for (std::thread* each : {&beating_, &watching_})
    if (each->joinable())
      each->join();
}

void Pulse::set_timeout(double seconds) {
  timeout_ = seconds;
}

double Pulse::period() const {
  return std::clamp(timeout_ / 10, 0.1, 1.0);
}

int64_t Pulse::begin(const std::string& collective) {
  const std::lock_guard lock(mutex_);
  sign_.collective = collective;
  return ++sign_.begun;
}

void Pulse::end(int64_t number) {
  const std::lock_guard lock(mutex_);
  sign_.ended = std::max(sign_.ended, number);
}

void Pulse::at_step(int64_t step) {
  const std::lock_guard lock(mutex_);
  sign_.step = step;
}

void Pulse::share_stop(std::function<bool()> stopping, std::function<void()> stop) {
  const std::lock_guard lock(mutex_);
  stopping_ = std::move(stopping);
  stop_ = std::move(stop);
}

Sign Pulse::snapshot() const {
  const std::lock_guard lock(mutex_);
  return sign_;
}

// ---- the thread that shows this rank, and looks

void Pulse::beat() {
  auto last = Clock::now();
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(
      lock, std::chrono::duration<double>(period()), [&] { return stopped_; })) {
    lock.unlock();
    const auto now = Clock::now();
    try {
      // A longer pause was this process's own: it says nothing about the others.
      round(std::min(seconds_between(last, now), 2 * period()));
    } catch (const std::exception& error) {
      store_is_gone(error.what());
    }
    last = now;
    ++rounds_;
    lock.lock();
  }
}

void Pulse::show() {
  {
    const std::lock_guard lock(mutex_);
    ++sign_.beat;
  }
  board_.put(of_.rank, snapshot());
}

void Pulse::round(double since_last) {
  show();
  if (const auto failure = board_.failure())
    finish(*failure, /*first=*/false);
  show_warnings();
  relay_stop();
  look_at_next(since_last);
  look_at_own(since_last);
}

void Pulse::show_warnings() {
  if (of_.rank == 0)
    for (const std::string& line : board_.new_warnings())
      talk_.show(line);
}

void Pulse::relay_stop() {
  std::function<bool()> stopping;
  std::function<void()> stop;
  {
    const std::lock_guard lock(mutex_);
    stopping = stopping_;
    stop = stop_;
  }
  if (!stopping || stop_relayed_)
    return;
  if (board_.asked_to_stop()) {
    stop();
    stop_relayed_ = true;
  } else if (stopping()) {
    board_.ask_to_stop();
    stop_relayed_ = true;
  }
}

void Pulse::look_at_next(double since_last) {
  for (int64_t i = 1; i < board_.size(); ++i) {
    const int64_t rank = (of_.rank + i) % board_.size();
    const std::optional<Sign> sign = board_.sign(rank);
    if (sign && sign->left)
      continue;
    if (rank != watched_ || !sign || sign->beat != watched_beat_)
      silent_ = 0;
    else
      silent_ += since_last;
    watched_ = rank;
    watched_beat_ = sign ? sign->beat : -1;
    if (const auto how = board_.end_of(rank))
      tell(name_of(rank, sign) + " is lost: it " + *how + "; " + missed_text(board_.signs()));
    if (silent_ < timeout_)
      return;
    tell(name_of(rank, sign) + " is lost: no sign of life for " + seconds_text(silent_) + "; " +
         missed_text(board_.signs()));
  }
}

/// Our own clock, not the backend's: it stands still while this process is held.
void Pulse::look_at_own(double since_last) {
  const int64_t number = waited_for_;
  waited_ = number != 0 && number == seen_waiting_ ? waited_ + since_last : 0;
  seen_waiting_ = number;
  if (waited_ >= timeout_)
    lost("no end within " + seconds_text(timeout_));
}

/// A store that does not answer holds the other thread for ever.
void Pulse::watch_over() {
  constexpr auto kLook = 250ms;
  constexpr double kLeast = 6;  // longer than it takes to end orderly
  int64_t seen = -1;
  double silent = 0;
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(lock, kLook, [&] { return stopped_; })) {
    const int64_t rounds = rounds_;
    silent = rounds == seen ? silent + std::chrono::duration<double>(kLook).count() : 0;
    seen = rounds;
    if (silent > std::max<double>(timeout_, kLeast))
      store_is_gone("it does not answer");
  }
}

// ---- how a job ends

/// Where the others wait: the last sign of a lost rank may be a second old, but ranks go together.
std::string Pulse::missed_text(const std::vector<std::optional<Sign>>& signs) const {
  Sign furthest = snapshot();
  for (const auto& sign : signs)
    if (sign && !sign->left && sign->begun > furthest.begun)
      furthest = *sign;
  const std::string where = step_text(furthest);
  if (furthest.begun > furthest.ended)
    return where + ", missed in " + collective_text(furthest);
  return where + ", behind " +
         (furthest.begun == 0 ? "no collective yet" : collective_text(furthest));
}

std::string Pulse::failed_text() const {
  const Sign own = snapshot();
  const std::string where = own.begun == 0          ? "before any collective"
                            : own.begun > own.ended ? "inside " + collective_text(own)
                                                    : "behind " + collective_text(own);
  return name_of(of_.rank, own) + " failed in " + step_text(own) + ", " + where;
}

/// Who is missing, by who has shown itself since.
std::string Pulse::verdict(const std::vector<std::optional<Sign>>& before) {
  const auto now = board_.signs();
  for (int64_t rank = 0; rank < board_.size(); ++rank) {
    const auto at = static_cast<size_t>(rank);
    if (rank == of_.rank || (now[at] && now[at]->left))
      continue;
    if (const auto how = board_.end_of(rank))
      return name_of(rank, now[at]) + " is lost: it " + *how + "; " + missed_text(now);
    if (!alive(before[at], now[at]))
      return name_of(rank, now[at]) + " is lost: no sign of life any more; " + missed_text(now);
  }
  int64_t last = of_.rank;
  for (int64_t rank = 0; rank < board_.size(); ++rank) {
    const auto& sign = now[static_cast<size_t>(rank)];
    if (sign && sign->begun < snapshot().begun &&
        (last == of_.rank || sign->begun < now[static_cast<size_t>(last)]->begun))
      last = rank;
  }
  if (last == of_.rank)
    return "the connection between ranks broke, all of which are alive; " + missed_text(now);
  const auto& sign = now[static_cast<size_t>(last)];
  return name_of(last, sign) + " is alive, but does not come: " + missed_text(now) + "; it is in " +
         step_text(*sign) + ", " + (sign->begun > sign->ended ? "inside " : "behind ") +
         collective_text(*sign);
}

void Pulse::lost(const std::string& complaint) {
  try {
    show();
    const auto before = board_.signs();
    const double patience = std::max(kShowSeconds, kBeatsToShow * period());
    const auto start = Clock::now();
    bool known = false;
    while (!known && seconds_between(start, Clock::now()) < patience) {
      if (const auto failure = board_.failure())
        finish(*failure, /*first=*/false);
      for (int64_t rank = 0; rank < board_.size() && !known; ++rank)
        known = board_.end_of(rank).has_value();
      show();  // others may be looking as well
      std::this_thread::sleep_for(50ms);
    }
    tell(verdict(before) + " (" + first_line(complaint) + ")");
  } catch (const std::exception& error) {
    store_is_gone(error.what());
  }
}

void Pulse::tell(const std::string& text) {
  fail({kRankLost,
        "sterna: " + text + ". Noticed by rank " + std::to_string(of_.rank) + " on " + of_.host +
            "; every rank ends. --resume goes on from the newest complete checkpoint"});
}

void Pulse::fail(const Failure& failure) {
  bool first = false;
  try {
    first = board_.report(failure);
    if (!first)
      if (const auto before = board_.failure())
        finish(*before, /*first=*/false);
  } catch (const std::exception& error) {
    talk_.note(failure.text);
    store_is_gone(error.what());
  }
  finish(failure, first);
}

/// One thread of the process ends it; should that one be held by the store, the next one does.
void Pulse::claim_end(int code) {
  if (ending_.exchange(true)) {
    std::this_thread::sleep_for(kLinger + 2s);
    _exit(code_);
  }
  code_ = code;
}

void Pulse::store_is_gone(const std::string& complaint) {
  claim_end(kRankLost);
  const Sign own = snapshot();
  const std::string text = "sterna: rank " + std::to_string(of_.rank) + " on " + of_.host +
                           " has lost the store of the job, which " +
                           (of_.rank == 0 ? "its launcher" : "rank 0 or the launcher") +
                           " serves: that process died, is held, or cannot be reached (" +
                           first_line(complaint) + "); " + step_text(own) + ", " +
                           (own.begun > own.ended ? "inside " : "behind ") + collective_text(own);
  // Nobody is there to agree on who says so: the first rank behind the store does.
  if (of_.rank <= 1)
    talk_.complain(text);
  else
    talk_.note(text);
  _exit(kRankLost);
}

void Pulse::finish(const Failure& failure, bool first) {
  claim_end(failure.code);
  if (first)
    talk_.complain(failure.text);
  else
    talk_.note(failure.text);
  try {
    board_.leave();
    const auto start = Clock::now();
    while (of_.hosts_store && board_.left() < board_.size() && Clock::now() - start < kLinger)
      std::this_thread::sleep_for(50ms);
  } catch (const std::exception& error) {
    talk_.note(error.what());
  }
  // Destructors of c10d wait for peers that are gone.
  _exit(failure.code);
}

void Pulse::await_all(std::chrono::seconds patience) {
  try {
    const auto start = Clock::now();
    for (int64_t rank = 0; rank < board_.size(); ++rank) {
      while (!board_.sign(rank)) {
        if (const auto how = board_.end_of(rank))
          tell("rank " + std::to_string(rank) + " is lost: it " + *how + " before it appeared");
        if (Clock::now() - start > patience)
          tell("rank " + std::to_string(rank) + " of " + std::to_string(board_.size()) +
               " has not appeared within " + std::to_string(patience.count()) + " s");
        std::this_thread::sleep_for(20ms);
      }
    }
  } catch (const std::exception& error) {
    store_is_gone(error.what());
  }
}

void Pulse::leave() {
  stop();  // who counts as gone must not miss a store that goes then
  {
    const std::lock_guard lock(mutex_);
    sign_.left = true;
    ++sign_.beat;
  }
  try {
    show_warnings();
    board_.put(of_.rank, snapshot());
    board_.leave();
    const auto start = Clock::now();
    while (of_.hosts_store && board_.left() < board_.size() &&
           seconds_between(start, Clock::now()) < timeout_)
      std::this_thread::sleep_for(20ms);
  } catch (const std::exception& error) {
    talk_.note(std::string("left without the store: ") + error.what());
  }
}

}  // namespace sterna::dist
