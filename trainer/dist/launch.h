#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sterna::dist {

/// Where this process stands among the ranks of its run, as its launcher said it.
struct Launch {
  int64_t rank = 0;
  int64_t size = 1;
  int64_t local_rank = 0;     ///< among those of this host
  int64_t local_size = 1;     ///< ranks of this host
  std::string address;        ///< where the store is: a host name or an address
  int port = 0;               ///< of the store
  bool agent_store = false;   ///< the launcher serves the store; else rank 0 does
  int64_t restarts = 0;       ///< how often the launcher has begun anew
  std::string launcher;       ///< "sterna", "torchrun", "mpirun" or "srun"; empty: started alone
  bool own_launcher = false;  ///< by --nproc
  /// What the launcher calls the job; the same on all its ranks, and maybe for its other jobs.
  std::string job;
  std::vector<std::string> interfaces;  ///< network cards for Gloo; empty: the one towards rank 0

  /// True where there are others to meet, or a launcher serves a store as if there were: a group of
  /// one then goes the way of many, so that this way's cost can be measured (`--nproc 1`).
  bool in_group() const { return size > 1 || agent_store; }
};

/// What --nproc tells its ranks beside torchrun's variables: a name of the job.
inline constexpr const char* kJobVariable = "STERNA_JOB";

/// A variable's value; nothing where it is not set or empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

/// Reads what torchrun (RANK, WORLD_SIZE, MASTER_ADDR, ...), mpirun (OMPI_COMM_WORLD_*) or srun
/// (SLURM_PROCID, ...) have set, asked in this order: a launcher may have started another one. A
/// world of one where none has.
/// @throws recipes::UserError  naming variables that contradict each other, are no numbers or lack
Launch read_launch(const Environment& environment);

}  // namespace sterna::dist
