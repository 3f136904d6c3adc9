#pragma once

#include <stdexcept>

namespace sterna::run {

/// SIGTERM or SIGINT arrived: the unfinished step is dropped.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// While alive, the first SIGTERM or SIGINT only sets a flag; a second one ends the process at
/// once, with exit code 128 + its number (130, 143) as if nobody had caught it.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  /// False where nobody watches.
  static bool arrived();

  /// Counts as a signal that arrived, but not as the first of two: another rank got one.
  static void relay();

  /// @throws Interrupted  once a signal has arrived
  static void check();
};

}  // namespace sterna::run
