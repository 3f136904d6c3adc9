#include "trainer/dist/stop_relay.h"

namespace sterna::dist {

void StopRelay::share(std::function<bool()> stopping, std::function<void()> stop) {
  const std::lock_guard lock(mutex_);
  stopping_ = std::move(stopping);
  stop_ = std::move(stop);
  end_.reset();
}

void StopRelay::end_where(std::function<bool()> stopping, Failure how) {
  const std::lock_guard lock(mutex_);
  stopping_ = std::move(stopping);
  stop_ = {};
  end_ = std::move(how);
}

void StopRelay::look(Board& board, Ending& ending) {
  std::unique_lock lock(mutex_);
  const auto stopping = stopping_;
  const auto stop = stop_;
  const auto end = end_;
  lock.unlock();
  if (!stopping || relayed_)
    return;
  if (end && stopping())
    ending.fail(*end);
  if (end)
    return;
  if (board.asked_to_stop()) {
    stop();
    relayed_ = true;
  } else if (stopping()) {
    board.ask_to_stop();
    relayed_ = true;
  }
}

}  // namespace sterna::dist
