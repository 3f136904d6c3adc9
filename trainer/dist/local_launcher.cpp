#include "trainer/dist/local_launcher.h"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <set>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "trainer/dist/board.h"
#include "trainer/dist/group.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kAddress = "127.0.0.1";
constexpr const char* kOwnProgram = "/proc/self/exe";
// Ranks need this long to find out whose fault it was, and to end once it is known.
constexpr auto kToFindOut = 8s;
constexpr auto kToEnd = 3s;
constexpr int kForwarded[] = {SIGTERM, SIGINT, SIGHUP};

[[noreturn]] void fail_to(const std::string& what) {
  throw std::runtime_error("--nproc: cannot " + what + ": " + std::strerror(errno));
}

/// A socket that listens on a free port, for the store of the job.
struct Listener {
  Listener() {
    file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    inet_pton(AF_INET, kAddress, &name.sin_addr);
    socklen_t size = sizeof name;
    auto* generic = reinterpret_cast<sockaddr*>(&name);
    if (file < 0 || bind(file, generic, size) != 0 || listen(file, SOMAXCONN) != 0 ||
        getsockname(file, generic, &size) != 0)
      fail_to("listen on this host");
    port = ntohs(name.sin_port);
  }
  int file = -1;
  int port = 0;
};

/// This process's variables with those of a rank, as torchrun sets them, in their place.
std::vector<std::string> environment_of(int64_t rank,
                                        const LocalJob& job,
                                        int port,
                                        int64_t again) {
  const std::string ranks = std::to_string(job.ranks);
  const std::map<std::string, std::string> own = {
      {"RANK", std::to_string(rank)},
      {"LOCAL_RANK", std::to_string(rank)},
      {"WORLD_SIZE", ranks},
      {"LOCAL_WORLD_SIZE", ranks},
      {"GROUP_RANK", "0"},
      {"MASTER_ADDR", kAddress},
      {"MASTER_PORT", std::to_string(port)},
      {"TORCHELASTIC_USE_AGENT_STORE", "True"},
      {"TORCHELASTIC_RESTART_COUNT", std::to_string(again)},
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

/// Signals wait until asked for, in this process; the ranks get the mask from before.
class HeldSignals {
 public:
  HeldSignals() {
    ::signal(SIGCHLD, SIG_DFL);  // where it is ignored, children leave no trace
    sigemptyset(&held_);
    sigaddset(&held_, SIGCHLD);
    sigaddset(&held_, SIGTSTP);
    for (const int signal : kForwarded)
      sigaddset(&held_, signal);
    sigprocmask(SIG_BLOCK, &held_, &before_);
  }
  ~HeldSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  /// @return  the next one; 0 where none came for a while
  int next() const {
    const timespec limit{0, 100'000'000};
    return std::max(0, sigtimedwait(&held_, nullptr, &limit));
  }
  const sigset_t& before() const { return before_; }

 private:
  sigset_t held_{};
  sigset_t before_{};
};

/// The ranks from their start to their end.
class Attempt {
 public:
  Attempt(const LocalJob& job, int64_t again, const HeldSignals& signals, std::ostream& errors)
      : job_(job), signals_(signals), errors_(errors) {
    Listener listener;
    for (int64_t rank = 0; rank < job.ranks; ++rank)
      start(rank, listener.port, again);
    serve(listener, again);
  }

  /// @param asked  set where a signal asked to stop
  int run(bool& asked) {
    while (!alive_.empty()) {
      const int signal = signals_.next();
      if (signal == SIGTSTP)
        hold();
      else if (signal > 0 && signal != SIGCHLD) {
        asked = true;
        send(signal);
      }
      reap();
      end_the_rest();
    }
    return verdict();
  }

 private:
  void start(int64_t rank, int port, int64_t again) {
    std::vector<std::string> words = job_.arguments;
    words.insert(words.begin(), "sterna");
    std::vector<std::string> variables = environment_of(rank, job_, port, again);
    const std::vector<char*> argv = pointers(words);
    const std::vector<char*> envp = pointers(variables);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0)
      fail_to("start rank " + std::to_string(rank));
    if (child == 0) {
      // Own groups: what a terminal sends would come twice, from it and from this program.
      setpgid(0, 0);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      sigprocmask(SIG_SETMASK, &signals_.before(), nullptr);
      if (getppid() == parent)
        execve(kOwnProgram, argv.data(), envp.data());
      _exit(kRankLost);
    }
    alive_[child] = rank;
  }

  void serve(const Listener& listener, int64_t again) {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(listener.port);
    options.isServer = true;
    options.waitWorkers = false;
    options.masterListenFd = listener.file;
    board_.emplace(c10::make_intrusive<c10d::PrefixStore>(
                       "sterna/" + std::to_string(again),
                       c10::make_intrusive<c10d::TCPStore>(kAddress, options)),
                   job_.ranks);
  }

  void send(int signal) const {
    for (const auto& [process, rank] : alive_)
      kill(process, signal);
  }

  /// Ctrl-Z holds the whole job, until this process is let go on.
  void hold() const {
    send(SIGSTOP);
    raise(SIGSTOP);
    send(SIGCONT);
  }

  void reap() {
    int status = 0;
    for (pid_t process = waitpid(-1, &status, WNOHANG); process > 0;
         process = waitpid(-1, &status, WNOHANG)) {
      const auto found = alive_.find(process);
      if (found == alive_.end())
        continue;
      const int64_t rank = found->second;
      alive_.erase(found);
      codes_.insert(code_of(status));
      const bool orderly =
          WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
      if (orderly || first_end_)
        continue;
      first_end_ = Clock::now();
      how_ = name_of(rank, board_->sign(rank)) + " " + how_ended(status);
      board_->put_end(rank, how_ended(status));
    }
  }

  void end_the_rest() {
    if (!first_end_ || alive_.empty())
      return;
    if (!known_since_ && board_->failure())
      known_since_ = Clock::now();
    const bool late = known_since_ ? Clock::now() - *known_since_ > kToEnd
                                   : Clock::now() - *first_end_ > kToFindOut;
    if (late)
      send(SIGKILL);  // whoever is alive by now is held, or hangs
  }

  int verdict() {
    const auto failure = board_->failure();
    if (failure)
      return failure->code;
    if (codes_.size() == 1)
      if (const int code = *codes_.begin();
          code < 128 || code == 128 + SIGINT || code == 128 + SIGTERM)
        return code;
    errors_ << "sterna: " << how_ << "; no other rank was left to say where" << std::endl;
    return kRankLost;
  }

  const LocalJob& job_;
  const HeldSignals& signals_;
  std::ostream& errors_;
  std::map<pid_t, int64_t> alive_;
  std::optional<Board> board_;
  std::set<int> codes_;
  std::optional<Clock::time_point> first_end_;
  std::optional<Clock::time_point> known_since_;
  std::string how_;
};

}  // namespace

int run_local(const LocalJob& job, std::ostream& errors) {
  const HeldSignals signals;
  bool asked = false;
  for (int64_t again = 0;; ++again) {
    const int code = Attempt(job, again, signals, errors).run(asked);
    if (code != kRankLost || asked || again == job.max_restarts)
      return code;
    errors << "sterna: restart " << again + 1 << " of " << job.max_restarts << std::endl;
  }
}

}  // namespace sterna::dist
