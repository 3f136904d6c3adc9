#pragma once

#include <cstdint>
#include <stdexcept>

namespace sterna::run {

/// SIGTERM or SIGINT arrived: the unfinished step is dropped.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// While one is alive, the first SIGTERM or SIGINT only sets a flag; a second one ends the process
/// at once, with exit code 128 + its number (130, 143) as if nobody had caught it: of another kind,
/// or at least 2 s later, for a launcher may hand on what has come already. A SIGINT that the
/// process was told to ignore stays ignored. They may lie in each other, and are of one thread.
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

  /// How often that was called: who asks goes on.
  static int64_t checks();
};

/// While alive, and before the first SignalWatch in it, SIGTERM or SIGINT end the process with a
/// sentence and exit code 3: there is nothing to save.
class EarlyStop {
 public:
  EarlyStop();
  ~EarlyStop();
  EarlyStop(const EarlyStop&) = delete;
  EarlyStop& operator=(const EarlyStop&) = delete;
};

/// For stages that nobody can interrupt, and that leave nothing to save. While alive, and in a
/// SignalWatch, a process that is asked to stop has some seconds to end orderly; then it ends as in
/// an EarlyStop, whatever holds it. Not in another one; of one thread.
class StopInTime {
 public:
  StopInTime();
  ~StopInTime();
  StopInTime(const StopInTime&) = delete;
  StopInTime& operator=(const StopInTime&) = delete;
};

}  // namespace sterna::run
