#include "trainer/dist/launch.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <sstream>

#include "recipes/fnv.h"
#include "recipes/user_error.h"
#include "trainer/dist/slurm.h"

namespace sterna::dist {
namespace {

using recipes::UserError;

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
constexpr int64_t kHighestPort = 65535;
constexpr int kUsualPort = 29500;
// Jobs of one cluster rarely meet on a host; their numbers keep them apart where they do.
constexpr int64_t kFirstOfJobs = 20000;
constexpr int64_t kPortsOfJobs = 9000;

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const std::string& name) const { return environment_(name).has_value(); }

  std::string text(const std::string& name, const std::string& fallback = "") const {
    return environment_(name).value_or(fallback);
  }

  int64_t number(const std::string& name, int64_t lowest, int64_t highest) const {
    const std::string text = this->text(name);
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || stop != text.data() + text.size() || value < lowest ||
        value > highest)
      throw UserError(name + ": expected a number from " + std::to_string(lowest) + " to " +
                      std::to_string(highest) + ", found '" + text +
                      "'; launchers set it, unset it to train alone");
    return value;
  }

  int64_t number_or(const std::string& name, int64_t fallback, int64_t highest = kMost) const {
    return has(name) ? number(name, 0, highest) : fallback;
  }

  void require(const std::string& name, const std::string& because) const {
    if (!has(name))
      throw UserError(because + " is set and " + name +
                      " is not: a launcher sets both. Set it, or unset " + because +
                      " to train alone");
  }

 private:
  const Environment& environment_;
};

/// Names of the variables that one launcher sets.
struct Names {
  const char* launcher;
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
};
constexpr Names kTorchrun{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kMpirun{"mpirun",
                        "OMPI_COMM_WORLD_RANK",
                        "OMPI_COMM_WORLD_SIZE",
                        "OMPI_COMM_WORLD_LOCAL_RANK",
                        "OMPI_COMM_WORLD_LOCAL_SIZE"};
// SLURM_NTASKS_PER_NODE is what the job asked for, not what the step has.
constexpr Names kSrun{"srun", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""};

Launch read_ranks(const Variables& variables, const Names& names) {
  variables.require(names.size, names.rank);
  variables.require(names.rank, names.size);
  Launch launch;
  launch.launcher = names.launcher;
  launch.size = variables.number(names.size, 1, kMost);
  launch.rank = variables.number(names.rank, 0, kMost);
  if (launch.rank >= launch.size)
    throw UserError(std::string(names.rank) + "=" + std::to_string(launch.rank) + " and " +
                    names.size + "=" + std::to_string(launch.size) +
                    " contradict each other: ranks count from 0");
  launch.local_rank = variables.number_or(names.local_rank, 0);
  launch.local_size = variables.number_or(names.local_size, launch.local_rank + 1);
  if (launch.local_rank >= launch.local_size || launch.local_size > launch.size)
    throw UserError(std::string(names.local_rank) + "=" + std::to_string(launch.local_rank) + ", " +
                    names.local_size + "=" + std::to_string(launch.local_size) + " and " +
                    names.size + "=" + std::to_string(launch.size) + " contradict each other");
  return launch;
}

/// A number that all ranks of a job know, and other jobs do not share.
int port_of_job(const Variables& variables) {
  const std::string job = variables.text("SLURM_JOB_ID", variables.text("PMIX_NAMESPACE"));
  if (job.empty())
    return kUsualPort;
  const uint64_t hash = recipes::fnv1a(job + "." + variables.text("SLURM_STEP_ID"));
  return static_cast<int>(kFirstOfJobs + hash % kPortsOfJobs);
}

void read_place(const Variables& variables, Launch& launch) {
  launch.address = variables.text("MASTER_ADDR", launch.address);
  launch.port = variables.has("MASTER_PORT")
                    ? static_cast<int>(variables.number("MASTER_PORT", 1, kHighestPort))
                    : port_of_job(variables);
  if (launch.address.empty())
    throw UserError("MASTER_ADDR is not set, and " + launch.launcher +
                    " does not say where rank 0 is: set it to the host of rank 0");
}

Launch of_torchrun(const Variables& variables) {
  Launch launch = read_ranks(variables, kTorchrun);
  const std::string agent = variables.text("TORCHELASTIC_USE_AGENT_STORE", "False");
  if (agent != "True" && agent != "False")
    throw UserError("TORCHELASTIC_USE_AGENT_STORE: expected True or False, found '" + agent + "'");
  launch.agent_store = agent == "True";
  launch.own_launcher = variables.has(kJobVariable);
  if (launch.own_launcher)
    launch.launcher = "sterna";
  launch.job = variables.text(kJobVariable, variables.text("TORCHELASTIC_RUN_ID"));
  if (launch.in_group()) {
    variables.require("MASTER_ADDR", "WORLD_SIZE");
    variables.require("MASTER_PORT", "WORLD_SIZE");
    read_place(variables, launch);
  }
  launch.restarts = variables.number_or("TORCHELASTIC_RESTART_COUNT", 0);
  if (variables.has(kMpirun.rank) &&
      variables.number_or(kMpirun.size, launch.size) == launch.size &&
      variables.number(kMpirun.rank, 0, kMost) != launch.rank)
    throw UserError("RANK=" + std::to_string(launch.rank) +
                    " and OMPI_COMM_WORLD_RANK=" + variables.text(kMpirun.rank) +
                    " contradict each other; unset RANK and WORLD_SIZE under mpirun");
  return launch;
}

Launch of_mpirun(const Variables& variables) {
  Launch launch = read_ranks(variables, kMpirun);
  launch.job = variables.text("PMIX_NAMESPACE", variables.text("OMPI_MCA_ess_base_jobid"));
  if (launch.local_size == launch.size)
    launch.address = "127.0.0.1";
  if (launch.size > 1)
    read_place(variables, launch);
  return launch;
}

/// Of the step, which may have fewer tasks than its job; nodes may have different numbers.
int64_t tasks_of_this_node(const Variables& variables, const Launch& launch) {
  const std::string list =
      variables.text("SLURM_STEP_TASKS_PER_NODE", variables.text("SLURM_TASKS_PER_NODE"));
  const auto told = tasks_on_node(list, variables.number_or("SLURM_NODEID", 0));
  return std::clamp(told.value_or(0), launch.local_rank + 1, launch.size);
}

Launch of_srun(const Variables& variables) {
  Launch launch = read_ranks(variables, kSrun);
  launch.local_size = tasks_of_this_node(variables, launch);
  launch.job = variables.text("SLURM_JOB_ID") + "." + variables.text("SLURM_STEP_ID");
  // Rank 0 is on the first host; where srun was typed may be a login node.
  launch.address = first_host(variables.text(
      "SLURM_STEP_NODELIST",
      variables.text("SLURM_JOB_NODELIST", variables.text("SLURM_LAUNCH_NODE_IPADDR"))));
  if (launch.size > 1)
    read_place(variables, launch);
  return launch;
}

/// A batch script, and the shell of salloc, have the variables of their job, but are no ranks of
/// it.
bool by_srun(const Variables& variables) {
  if (variables.has("SLURM_JOB_ID") && !is_step_of_srun(variables.text("SLURM_STEP_ID")))
    return false;
  return variables.has(kSrun.rank);
}

/// What torch programs read as well: "eth0,eth1".
std::vector<std::string> interfaces_of(const Variables& variables) {
  std::vector<std::string> all;
  std::istringstream names(variables.text("GLOO_SOCKET_IFNAME"));
  for (std::string name; std::getline(names, name, ',');)
    if (!name.empty())
      all.push_back(name);
  return all;
}

Launch launch_of(const Variables& variables) {
  if (variables.has(kTorchrun.rank) || variables.has(kTorchrun.size))
    return of_torchrun(variables);
  if (variables.has(kMpirun.rank) || variables.has(kMpirun.size))
    return of_mpirun(variables);
  if (by_srun(variables))
    return of_srun(variables);
  return {};
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0')
      return std::nullopt;
    return value;
  };
}

Launch read_launch(const Environment& environment) {
  const Variables variables(environment);
  Launch launch = launch_of(variables);
  launch.interfaces = interfaces_of(variables);
  return launch;
}

}  // namespace sterna::dist
