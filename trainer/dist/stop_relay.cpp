#include "trainer/dist/stop_relay.h"

namespace sterna::dist {
namespace {

// Seconds for what ranks do orderly, by which files that are half written go; a stage that nobody
// can interrupt takes longer.
constexpr double kToEndOrderly = 10;

}  // namespace

void StopRelay::share(Stops stops) {
  const std::lock_guard lock(mutex_);
  stops_ = std::move(stops);
  end_.reset();
}

void StopRelay::end_where(Stops stops, Failure how) {
  const std::lock_guard lock(mutex_);
  stops_ = std::move(stops);
  end_ = std::move(how);
}

int64_t StopRelay::checks() {
  const std::lock_guard lock(mutex_);
  return stops_.checks ? stops_.checks() : 0;
}

void StopRelay::look(Board& board, Ending& ending, double since_last) {
  std::unique_lock lock(mutex_);
  const Stops stops = stops_;
  const std::optional<Failure> end = end_;
  lock.unlock();
  if (!stops.asked || told_)
    return;
  if (asked_) {
    waited_ += since_last;
    if (end && waited_ >= kToEndOrderly)
      ending.fail(*end);
  } else if (board.asked_to_stop()) {
    stops.tell();
    told_ = true;
  } else if (stops.asked()) {
    board.ask_to_stop();
    asked_ = true;
  }
}

}  // namespace sterna::dist
