#include "trainer/dist/local_rank.h"

#include <cstring>
#include <map>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trainer/dist/board.h"
#include "trainer/dist/launch.h"

namespace sterna::dist {
namespace {

constexpr const char* kOwnProgram = "/proc/self/exe";

/// This process's variables with those of a rank, as torchrun sets them, in their place.
std::vector<std::string> environment_of(const LocalRank& rank, const LocalJob& job) {
  const std::string ranks = std::to_string(job.ranks);
  const std::map<std::string, std::string> own = {
      {"RANK", std::to_string(rank.rank)},
      {"LOCAL_RANK", std::to_string(rank.rank)},
      {"WORLD_SIZE", ranks},
      {"LOCAL_WORLD_SIZE", ranks},
      {"GROUP_RANK", "0"},
      {"MASTER_ADDR", rank.address},
      {"MASTER_PORT", std::to_string(rank.port)},
      {"TORCHELASTIC_USE_AGENT_STORE", "True"},
      {"TORCHELASTIC_RESTART_COUNT", std::to_string(rank.again)},
      {kJobVariable, rank.job},
      {"TORCHELASTIC_MAX_RESTARTS", std::to_string(job.max_restarts)}};
  std::vector<std::string> all;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string line = *each;
    if (!own.contains(line.substr(0, line.find('='))))
      all.push_back(line);
  }
  for (const auto& [name, value] : own)
    all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words)
    all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

void fail_to(const std::string& what) {
  throw std::runtime_error("--nproc: cannot " + what + ": " + std::strerror(errno));
}

pid_t start_rank(const LocalRank& rank, const LocalJob& job, const sigset_t& mask) {
  std::vector<std::string> words = job.arguments;
  words.insert(words.begin(), "sterna");
  std::vector<std::string> variables = environment_of(rank, job);
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(variables);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0)
    fail_to("start rank " + std::to_string(rank.rank));
  if (child == 0) {
    // Own groups: what a terminal sends would come twice, from it and from this program.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &mask, nullptr);
    if (getppid() == parent)
      execve(kOwnProgram, argv.data(), envp.data());
    _exit(kRankLost);
  }
  return child;
}

std::string how_ended(int status) {
  if (WIFEXITED(status))
    return "ended with exit code " + std::to_string(WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  const char* name = sigabbrev_np(number);
  return "was ended by signal " + std::to_string(number) +
         (name == nullptr ? "" : std::string(" (SIG") + name + ")");
}

int code_of(int status) {
  constexpr int kSignalled = 128;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
}

}  // namespace sterna::dist
