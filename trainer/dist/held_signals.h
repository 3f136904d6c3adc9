#pragma once

#include <algorithm>
#include <csignal>

namespace sterna::dist {

inline constexpr int kForwarded[] = {SIGTERM, SIGINT, SIGHUP};

/// Signals wait until asked for, in this process; the ranks get the mask from before.
class HeldSignals {
 public:
  HeldSignals() {
    ::signal(SIGCHLD, SIG_DFL);  // where it is ignored, children leave no trace
    sigemptyset(&held_);
    sigaddset(&held_, SIGCHLD);
    sigaddset(&held_, SIGTSTP);
    for (const int signal : kForwarded)
      sigaddset(&held_, signal);
    sigprocmask(SIG_BLOCK, &held_, &before_);
  }
  ~HeldSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  /// @return  the next one; 0 where none came for a while
  int next() const {
    const timespec limit{0, 100'000'000};
    return std::max(0, sigtimedwait(&held_, nullptr, &limit));
  }
  const sigset_t& before() const { return before_; }

 private:
  sigset_t held_{};
  sigset_t before_{};
};

}  // namespace sterna::dist
