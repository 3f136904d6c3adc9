#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <vector>

#include "trainer/dist/operations.h"

namespace sterna::dist {

/// How long this process has come no further, whether it sleeps or computes in a circle. Progress
/// is what the system and ATen count of it: tensor operations, bytes read and written, pages
/// fetched, threads that wait for a disk; and a count of its own. Computing alone is none.
class Standstill {
 public:
  /// The thread that calls does not count: it works in any case.
  void leave_out_this_thread();

  /// @param since_last  seconds since the call before
  /// @param told  grows where this process says itself that it goes on
  /// @return  seconds without progress up to now; of those in which it computed, what it had a core
  /// for
  double look(double since_last, int64_t told);
  void forget();

  /// Whether it has computed for most of that time.
  bool computes() const { return computing_ > still_ / 2; }

 private:
  struct Counts {
    double computed = 0;     ///< seconds, of all threads together
    int64_t moved = 0;       ///< bytes read and written
    int64_t fetched = 0;     ///< pages from a disk
    int64_t taken = 0;       ///< pages that were in memory
    int64_t operations = 0;  ///< while they are counted
    int64_t told = 0;
  };
  Counts count(int64_t told) const;
  bool progressed(const Counts& now, double since_last) const;

  std::vector<clockid_t> left_out_;
  Counts last_;
  double still_ = 0;
  double computing_ = 0;                      ///< of still_
  std::optional<OperationCount> operations_;  ///< from the first look that finds nothing else
};

}  // namespace sterna::dist
