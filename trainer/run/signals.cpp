#include "trainer/run/signals.h"

#include <atomic>
#include <csignal>
#include <ctime>
#include <unistd.h>

namespace sterna::run {
namespace {

volatile std::sig_atomic_t g_signal = 0;
std::atomic<bool> g_relayed = false;
std::atomic<int64_t> g_checks = 0;

// A stop of a whole group of processes reaches a rank twice, directly and through its launcher.
constexpr time_t kSameSignal = 2;  // seconds
volatile time_t g_noted_at = 0;

volatile std::sig_atomic_t g_in_time = 0;
constexpr unsigned kToEndOrderly = 5;  // seconds

void note(int signal) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (g_signal == signal && now.tv_sec - g_noted_at < kSameSignal)
    return;
  if (g_signal != 0)
    _exit(128 + signal);  // the second one: whoever sends it has waited long enough
  g_signal = signal;
  g_noted_at = now.tv_sec;
  if (g_in_time != 0)
    alarm(kToEndOrderly);
}

constexpr int kSignals[2] = {SIGTERM, SIGINT};
constexpr int kStoppedEarly = 3;
constexpr char kNothingToSave[] = "stopped before the first step; nothing to save\n";

/// What was done about the signals before, to be put back.
using Before = struct sigaction[2];
Before g_before_watch;
Before g_before_early;
int g_watches = 0;
volatile std::sig_atomic_t g_watched = 0;  // since the EarlyStop, and no more
struct sigaction g_before_alarm {};

void end_early(int) {
  (void)!write(STDERR_FILENO, kNothingToSave, sizeof kNothingToSave - 1);
  _exit(kStoppedEarly);
}

void stop_early(int signal) {
  if (g_watched != 0)
    _exit(128 + signal);
  end_early(signal);
}

void catch_with(void (*handler)(int), Before& before) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigset_t caught;
  sigemptyset(&caught);
  for (int i = 0; i < 2; ++i) {
    sigaction(kSignals[i], nullptr, &before[i]);
    if (kSignals[i] == SIGINT && before[i].sa_handler == SIG_IGN)
      continue;
    sigaction(kSignals[i], &action, nullptr);
    sigaddset(&caught, kSignals[i]);
  }
  // A launcher lets them wait until somebody looks after them.
  pthread_sigmask(SIG_UNBLOCK, &caught, nullptr);
}

void put_back(const Before& before) {
  for (int i = 0; i < 2; ++i)
    sigaction(kSignals[i], &before[i], nullptr);
}

}  // namespace

SignalWatch::SignalWatch() {
  if (g_watches++ > 0)
    return;
  g_signal = 0;
  g_relayed = false;
  catch_with(note, g_before_watch);
}

SignalWatch::~SignalWatch() {
  if (--g_watches > 0)
    return;
  g_watched = 1;
  put_back(g_before_watch);
  g_signal = 0;
  g_relayed = false;
}

EarlyStop::EarlyStop() {
  g_watched = 0;
  catch_with(stop_early, g_before_early);
}

EarlyStop::~EarlyStop() {
  put_back(g_before_early);
}

StopInTime::StopInTime() {
  struct sigaction action {};
  action.sa_handler = end_early;
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, &g_before_alarm);
  g_in_time = 1;
  if (g_signal != 0)
    alarm(kToEndOrderly);
}

StopInTime::~StopInTime() {
  g_in_time = 0;
  alarm(0);
  sigaction(SIGALRM, &g_before_alarm, nullptr);
}

bool SignalWatch::arrived() {
  return g_signal != 0 || g_relayed;
}

void SignalWatch::relay() {
  g_relayed = true;
}

void SignalWatch::check() {
  g_checks.fetch_add(1, std::memory_order_relaxed);
  if (arrived())
    throw Interrupted(g_signal == SIGINT    ? "interrupted (SIGINT)"
                      : g_signal == SIGTERM ? "asked to stop (SIGTERM)"
                                            : "asked to stop (another rank was)");
}

int64_t SignalWatch::checks() {
  return g_checks.load(std::memory_order_relaxed);
}

}  // namespace sterna::run
