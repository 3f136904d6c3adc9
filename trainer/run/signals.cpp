#include "trainer/run/signals.h"

#include <atomic>
#include <csignal>
#include <ctime>
#include <unistd.h>

namespace sterna::run {
namespace {

volatile std::sig_atomic_t g_signal = 0;
std::atomic<bool> g_relayed = false;

// A stop of a whole group of processes reaches a rank twice, directly and through its launcher.
constexpr time_t kSameSignal = 2;  // seconds
volatile time_t g_noted_at = 0;

void note(int signal) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (g_signal == signal && now.tv_sec - g_noted_at < kSameSignal)
    return;
  if (g_signal != 0)
    _exit(128 + signal);  // the second one: whoever sends it has waited long enough
  g_signal = signal;
  g_noted_at = now.tv_sec;
}

struct sigaction g_before[2];
constexpr int kSignals[2] = {SIGTERM, SIGINT};

}  // namespace

SignalWatch::SignalWatch() {
  g_signal = 0;
  g_relayed = false;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 2; ++i)
    sigaction(kSignals[i], &action, &g_before[i]);
}

SignalWatch::~SignalWatch() {
  for (int i = 0; i < 2; ++i)
    sigaction(kSignals[i], &g_before[i], nullptr);
  g_signal = 0;
}

bool SignalWatch::arrived() {
  return g_signal != 0 || g_relayed;
}

void SignalWatch::relay() {
  g_relayed = true;
}

void SignalWatch::check() {
  if (arrived())
    throw Interrupted(g_signal == SIGINT    ? "interrupted (SIGINT)"
                      : g_signal == SIGTERM ? "asked to stop (SIGTERM)"
                                            : "asked to stop (another rank was)");
}

}  // namespace sterna::run
