#pragma once

#include <csignal>

namespace sterna::dist {

/// Signals of a launcher wait until asked for. Those that it was told to ignore (nohup's SIGHUP,
/// SIGINT of a job in the background) stay ignored; SIGTERM counts in any case.
class HeldSignals {
 public:
  HeldSignals();
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  /// @return  the next one; 0 where none came for a while
  int next() const;

  /// The mask for ranks: as before, but that what asks to stop waits until they look after it.
  sigset_t of_ranks() const;

 private:
  sigset_t held_{};
  sigset_t before_{};
};

}  // namespace sterna::dist
