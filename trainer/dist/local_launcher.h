#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace sterna::dist {

/// What `--nproc` starts.
struct LocalJob {
  std::vector<std::string> arguments;  ///< of this program, behind its name
  int64_t ranks = 1;
  int64_t max_restarts = 0;
};

/// Starts the ranks of a job on this host as torchrun would, by executing this program anew, serves
/// their store and waits for them. Signals that ask to stop are handed on. What ends the job is
/// said here: a rank may die before it can. Where a rank is lost, the others are ended, and all
/// begin anew as often as the job allows. Leaves no process behind: the ranks die with this one.
/// @return  the ranks' exit code where they agree, else 70; 128 + signal where one asked twice
int run_local(const LocalJob& job, std::ostream& errors);

}  // namespace sterna::dist
