#pragma once

#include <csignal>
#include <string>
#include <sys/types.h>

#include "trainer/dist/local_launcher.h"

namespace sterna::dist {

/// A rank that is to be started on this host.
struct LocalRank {
  int64_t rank = 0;
  std::string address;  ///< of the store
  int port = 0;
  int64_t again = 0;  ///< how often the job has begun anew
  std::string job;    ///< its name, the same for all ranks and beginnings
};

/// Executes this program anew with the variables that torchrun would set. The process is the head
/// of a group of its own, and dies with this one.
/// @param mask  of signals, for that process
pid_t start_rank(const LocalRank& rank, const LocalJob& job, const sigset_t& mask);

/// "was ended by signal 9 (SIGKILL)"; of a status as waitpid() gives it.
std::string how_ended(int status);

/// Exit code, or 128 + signal.
int code_of(int status);

/// @throws std::runtime_error  with what errno says
[[noreturn]] void fail_to(const std::string& what);

}  // namespace sterna::dist
