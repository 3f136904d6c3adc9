#include "trainer/dist/held_signals.h"

#include <algorithm>

namespace sterna::dist {
namespace {

bool is_ignored(int signal) {
  struct sigaction now {};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

HeldSignals::HeldSignals() {
  ::signal(SIGCHLD, SIG_DFL);  // where it is ignored, children leave no trace
  sigemptyset(&held_);
  for (const int signal : {SIGCHLD, SIGTSTP, SIGTERM})
    sigaddset(&held_, signal);
  for (const int signal : {SIGINT, SIGHUP})
    if (!is_ignored(signal))
      sigaddset(&held_, signal);
  sigprocmask(SIG_BLOCK, &held_, &before_);
}

HeldSignals::~HeldSignals() {
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

int HeldSignals::next() const {
  const timespec limit{0, 100'000'000};
  return std::max(0, sigtimedwait(&held_, nullptr, &limit));
}

sigset_t HeldSignals::of_ranks() const {
  sigset_t mask = before_;
  for (const int signal : {SIGTERM, SIGINT})
    sigaddset(&mask, signal);
  return mask;
}

}  // namespace sterna::dist
