#pragma once

#include <chrono>

namespace sterna::run {

/// Wall time between laps, in milliseconds.
class Stopwatch {
 public:
  void restart() { since_ = Clock::now(); }

  /// Adds the time since the last lap to `ms` and starts the next.
  void lap(double& ms) {
    const Clock::time_point now = Clock::now();
    ms += std::chrono::duration<double, std::milli>(now - since_).count();
    since_ = now;
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - since_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point since_ = Clock::now();
};

}  // namespace sterna::run
