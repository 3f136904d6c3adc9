#pragma once

#include <functional>
#include <mutex>

#include "trainer/dist/ending.h"

namespace sterna::dist {

/// How a process learns that it is to stop.
struct Stops {
  std::function<bool()> asked = {};  ///< true where this process was asked
  std::function<void()> tell = {};   ///< called where another one was: from then on it is to stop
  /// How often its work has come to where it could stop: that shows that it goes on.
  std::function<int64_t()> checks = {};
};

/// What a job does where one of its ranks is asked to stop: all are told, and end orderly.
class StopRelay {
 public:
  /// However long the ranks take for it.
  void share(Stops stops);

  /// While there is nothing to save: where they take long, the job ends like that.
  void end_where(Stops stops, Failure how);

  int64_t checks();

  /// Asks and tells; of one thread. @param since_last  seconds since the call before
  void look(Board& board, Ending& ending, double since_last);

 private:
  std::mutex mutex_;  ///< over stops_ and end_
  Stops stops_;
  std::optional<Failure> end_;
  bool told_ = false;   ///< by another rank
  bool asked_ = false;  ///< and the others are told
  double waited_ = 0;   ///< since then, in seconds
};

}  // namespace sterna::dist
