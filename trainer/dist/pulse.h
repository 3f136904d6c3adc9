#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "trainer/dist/ending.h"
#include "trainer/dist/standstill.h"
#include "trainer/dist/stop_relay.h"
#include "trainer/dist/verdict.h"

namespace sterna::dist {

/// A rank's sign of life, sent every second, and its watch over the others: each looks at the next
/// one. Whoever finds a rank lost tells all; the first one's message is printed, and every process
/// ends with its code, from whatever it was waiting in. Ranks that a debugger or SIGSTOP holds
/// count as lost; time in which this process itself was held does not count against others. A rank
/// that has come no further for as long, and waits for nobody, counts as lost as well, where it
/// computes while others wait for it: it finds that itself.
class Pulse {
 public:
  /// @param board  on a connection that nobody else waits on, where all ranks have appeared
  /// @param sign  as which this one has; `talk` outlives the object
  Pulse(Board board, const Self& self, Talk& talk, Sign sign);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  /// Seconds without a sign, or without work, after which a rank is lost.
  void set_timeout(double seconds);

  /// Notes a collective. @return  its number, from 1
  int64_t begin(const std::string& collective);
  void end(int64_t number);
  /// While a thread waits for that collective to end; 0: it does not. Beyond the timeout the job
  /// ends, unless it waits patiently: then as long as the others live and work.
  void wait_for(int64_t number, bool patient = false) { waits_ = patient ? -number : number; }
  void at_step(int64_t step);

  /// What happens where this process, or another rank, is asked to stop; nothing before it is told.
  StopRelay& stops() { return stops_; }

  /// Ends the job: this rank has failed.
  [[noreturn]] void fail(const Failure& failure) { ending_.fail(failure); }

  /// Ends the job: a collective did not come to its end; finds out whose fault that was.
  [[noreturn]] void lost(const std::string& complaint);

  /// Which rank this is, and where it has come to: for messages of its failure.
  Shown shown() const { return {self_.rank, snapshot()}; }

  /// No rank watches this one any more, and it watches none. Where the store goes meanwhile, or
  /// does not answer, the process ends with `code`.
  void leave(int code);

 private:
  using Clock = std::chrono::steady_clock;

  void stop_beating();
  Sign snapshot() const;
  void show();
  void beat();
  void watch_over();
  void round(double since_last);
  void look_at_next(double since_last);
  void look_at_own(double since_last);
  void stand_still(const Sign& own);
  void show_warnings();
  double period() const;

  Board board_;
  Self self_;
  Talk& talk_;
  Ending ending_;
  StopRelay stops_;
  std::atomic<double> timeout_{50};
  mutable std::mutex mutex_;  ///< over sign_
  Sign sign_;
  int64_t watched_ = -1;  ///< the next rank that has not left, and what was last seen of it
  int64_t watched_beat_ = -1;
  double silent_ = 0;
  std::atomic<int64_t> waits_{0};  ///< for that collective; patiently: less than 0
  int64_t seen_waiting_ = 0;
  double waited_ = 0;
  std::atomic<bool> joined_{false};
  Standstill standstill_;
  int64_t seen_begun_ = 0;
  std::atomic<int64_t> rounds_{0};
  bool stopped_ = false;    ///< the beating
  bool unwatched_ = false;  ///< the watch over the beating
  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  std::thread beating_;
  std::thread watching_;
};

}  // namespace sterna::dist
