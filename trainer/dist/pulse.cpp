#include "trainer/dist/pulse.h"

#include <algorithm>
#include <memory>
#include <new>
#include <unistd.h>

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

// Beats, and seconds, in which a rank that lives is seen to.
constexpr double kBeatsToShow = 4;
constexpr double kShowSeconds = 3;
constexpr size_t kSpareBytes = 1 << 18;

double seconds_between(std::chrono::steady_clock::time_point a,
                       std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

std::string seconds_text(double seconds) {
  return std::to_string(static_cast<int64_t>(seconds + 0.5)) + " s";
}

}  // namespace

Pulse::Pulse(Board board, const Self& self, Talk& talk, Sign sign)
    : board_(std::move(board)),
      self_(self),
      talk_(talk),
      ending_(board_, self, talk, [this] { return snapshot(); }),
      sign_(std::move(sign)) {
  if (self_.rank != 0)
    talk_.on_warning([this](const std::string& line) {
      try {
        board_.warn("[rank " + std::to_string(self_.rank) + "] " + line);
      } catch (const std::exception& error) {
        talk_.note(std::string("could not be handed on: ") + error.what());
      }
    });
  beating_ = std::thread([this] { beat(); });
  watching_ = std::thread([this] { watch_over(); });
}

Pulse::~Pulse() {
  stop_beating();
  {
    const std::lock_guard lock(stop_mutex_);
    unwatched_ = true;
  }
  stop_changed_.notify_all();
  watching_.join();
}

void Pulse::stop_beating() {
  talk_.on_warning({});
  {
    const std::lock_guard lock(stop_mutex_);
    stopped_ = true;
  }
  stop_changed_.notify_all();
  if (beating_.joinable())
    beating_.join();
}

void Pulse::set_timeout(double seconds) {
  timeout_ = seconds;
  joined_ = true;
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

Sign Pulse::snapshot() const {
  const std::lock_guard lock(mutex_);
  return sign_;
}

// ---- the thread that shows this rank, and looks

void Pulse::beat() {
  auto spare = std::make_unique<char[]>(kSpareBytes);
  standstill_.leave_out_this_thread();
  auto last = Clock::now();
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(
      lock, std::chrono::duration<double>(period()), [&] { return stopped_; })) {
    lock.unlock();
    const auto now = Clock::now();
    try {
      // A longer pause was this process's own: it says nothing about the others.
      round(std::min(seconds_between(last, now), 2 * period()));
    } catch (const std::bad_alloc&) {
      spare.reset();  // to say so takes a little
      ending_.fail({kRankLost, "sterna: " + failed_text(shown()) + ": out of memory"});
    } catch (const std::exception& error) {
      ending_.without_store(error.what());
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
  board_.put(self_.rank, snapshot());
}

void Pulse::round(double since_last) {
  show();
  if (const auto failure = board_.failure())
    ending_.follow(*failure);
  show_warnings();
  stops_.look(board_, ending_, since_last);
  look_at_next(since_last);
  look_at_own(since_last);
}

void Pulse::show_warnings() {
  if (self_.rank == 0)
    for (const std::string& line : board_.new_warnings())
      talk_.show(line);
}

void Pulse::look_at_next(double since_last) {
  for (int64_t i = 1; i < board_.size(); ++i) {
    const int64_t rank = (self_.rank + i) % board_.size();
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
      ending_.lose(lost_text(shown(), rank, "it " + *how, board_.signs()));
    if (silent_ < timeout_)
      return;
    ending_.lose(
        lost_text(shown(), rank, "no sign of life for " + seconds_text(silent_), board_.signs()));
  }
}

/// Our own clock, not the backend's: it stands still while this process is held.
void Pulse::look_at_own(double since_last) {
  const int64_t number = waits_;  // once: the thread that waits goes on meanwhile
  waited_ = number != 0 && number == seen_waiting_ ? waited_ + since_last : 0;
  seen_waiting_ = number;
  if (waited_ >= timeout_ && number > 0)
    lost("no end within " + seconds_text(timeout_));
  const Sign own = snapshot();
  const bool met = number != 0 || own.begun != seen_begun_;
  seen_begun_ = own.begun;
  if (met || !joined_)
    standstill_.forget();
  else if (standstill_.look(since_last, stops_.checks()) >= timeout_)
    stand_still(own);
}

/// One that computes may be at something that shows no progress; that is nobody's business until
/// others wait for it.
void Pulse::stand_still(const Sign& own) {
  const auto signs = board_.signs();
  const std::string seconds = seconds_text(timeout_);
  const Shown shown{self_.rank, own};
  if (!standstill_.computes())
    ending_.lose(hangs_text(shown, "neither computed, read nor written for " + seconds, signs));
  if (is_awaited(own, signs))
    ending_.lose(
        hangs_text(shown, "computed for " + seconds + " without coming any further", signs));
}

/// A store that does not answer holds the other thread for ever.
void Pulse::watch_over() {
  constexpr auto kLook = 250ms;
  constexpr double kLeast = 6;  // longer than it takes to end orderly
  int64_t seen = -1;
  double silent = 0;
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(lock, kLook, [&] { return unwatched_; })) {
    const int64_t rounds = rounds_;
    silent = rounds == seen ? silent + std::chrono::duration<double>(kLook).count() : 0;
    seen = rounds;
    if (silent > std::max<double>(timeout_, kLeast))
      ending_.without_store("it does not answer");
  }
}

/// Beyond its timeout, or where c10d says that a connection broke.
void Pulse::lost(const std::string& complaint) {
  try {
    show();
    const auto before = board_.signs();
    const double patience = std::max(kShowSeconds, kBeatsToShow * period());
    const auto start = Clock::now();
    bool known = false;
    while (!known && seconds_between(start, Clock::now()) < patience) {
      if (const auto failure = board_.failure())
        ending_.follow(*failure);
      for (int64_t rank = 0; rank < board_.size() && !known; ++rank)
        known = board_.end_of(rank).has_value();
      show();  // others may be looking as well
      std::this_thread::sleep_for(50ms);
    }
    ending_.lose(verdict(board_, shown(), before) + " (" + first_line(complaint) + ")");
  } catch (const std::exception& error) {
    ending_.without_store(error.what());
  }
}

void Pulse::leave(int code) {
  ending_.work_is_done(code);
  stop_beating();  // who counts as gone must not miss a store that goes then
  {
    const std::lock_guard lock(mutex_);
    sign_.left = true;
    ++sign_.beat;
  }
  try {
    show_warnings();
    board_.put(self_.rank, snapshot());
    board_.leave();
    const auto start = Clock::now();
    while (self_.hosts_store && board_.left() < board_.size() &&
           seconds_between(start, Clock::now()) < timeout_) {
      ++rounds_;
      std::this_thread::sleep_for(20ms);
    }
  } catch (const std::exception& error) {
    talk_.note(std::string("left without the store: ") + error.what());
  }
  const std::lock_guard lock(stop_mutex_);
  unwatched_ = true;
}

}  // namespace sterna::dist
