#pragma once

#include <functional>
#include <mutex>

#include "trainer/dist/ending.h"

namespace sterna::dist {

/// What a job does where one of its ranks is asked to stop.
class StopRelay {
 public:
  /// @param stopping  true where this process was asked; then `stop` is called on all others
  void share(std::function<bool()> stopping, std::function<void()> stop);

  /// While there is nothing to save: the job ends like that.
  void end_where(std::function<bool()> stopping, Failure how);

  /// Asks and tells; of one thread.
  void look(Board& board, Ending& ending);

 private:
  std::mutex mutex_;
  std::function<bool()> stopping_;
  std::function<void()> stop_;
  std::optional<Failure> end_;
  bool relayed_ = false;
};

}  // namespace sterna::dist
