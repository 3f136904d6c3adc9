#pragma once

#include <cstdint>
#include <ctime>
#include <vector>

namespace sterna::dist {

/// Whether this process does anything, by what the system counts of it: computing, reading,
/// writing, pages fetched, threads that wait for a disk. Nobody has to say that he works; one that
/// waits for a lock, or for somebody who will not come, does not.
class Idleness {
 public:
  /// The thread that calls does not count: it works in any case.
  void leave_out_this_thread();

  /// @param since_last  seconds since the call before. @return  seconds without work up to now
  double look(double since_last);
  void forget() { idle_ = 0; }

 private:
  double computed() const;

  std::vector<clockid_t> left_out_;
  double computed_ = 0;
  int64_t moved_ = 0;    ///< bytes read and written
  int64_t fetched_ = 0;  ///< pages
  double idle_ = 0;
};

}  // namespace sterna::dist
