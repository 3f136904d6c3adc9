#include "trainer/dist/local_launcher.h"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "trainer/dist/board.h"
#include "trainer/dist/held_signals.h"
#include "trainer/dist/local_rank.h"
#include "trainer/dist/meeting.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kAddress = "127.0.0.1";
// Ranks need this long to find out whose fault it was, and to end once it is known.
constexpr auto kToFindOut = 20s;
constexpr auto kToEnd = 3s;

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

/// No other job on this host has it.
std::string new_name() {
  std::random_device draw;
  std::ostringstream text;
  text << std::hex << draw() << draw();
  return text.str();
}

/// A beginning of a job.
struct Beginning {
  std::string job;    ///< its name
  int64_t again = 0;  ///< how often it had begun before
};

/// The ranks from their start to their end.
class Attempt {
 public:
  Attempt(const LocalJob& job,
          const Beginning& beginning,
          const HeldSignals& signals,
          std::ostream& errors)
      : job_(job), signals_(signals), errors_(errors) {
    Listener listener;
    for (int64_t rank = 0; rank < job.ranks; ++rank) {
      const LocalRank one{rank, kAddress, listener.port, beginning.again, beginning.job};
      alive_[start_rank(one, job, signals.of_ranks())] = rank;
    }
    serve(listener, beginning.job);
  }

  /// @param asked  set where a signal asked to stop
  int run(bool& asked) {
    while (!alive_.empty()) {
      const int signal = signals_.next();
      if (signal == SIGTSTP)
        hold();
      else if (signal > 0 && signal != SIGCHLD) {
        asked = asked_ = true;
        send(signal);
      }
      reap();
      if (!codes_.empty())
        speak();
      end_the_rest();
    }
    speak();
    return verdict();
  }

 private:
  void serve(const Listener& listener, const std::string& name) {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(listener.port);
    options.isServer = true;
    options.waitWorkers = false;
    options.masterListenFd = listener.file;
    const Store store = of_job(c10::make_intrusive<c10d::TCPStore>(kAddress, options), name);
    board_.emplace(of_attempt(store, begin_attempt(store)), job_.ranks);
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
      if (!ended_as_asked(code_of(status)))
        board_->put_end(rank, how_ended(status));
    }
  }

  /// Ranks tell the board, and this program says it: it outlives them all.
  void speak() {
    if (known_since_)
      return;
    failure_ = board_->failure();
    if (!failure_)
      return;
    known_since_ = Clock::now();
    errors_ << failure_->text << std::endl;
  }

  void end_the_rest() {
    const bool late = known_since_ ? Clock::now() - *known_since_ > kToEnd
                                   : first_end_ && Clock::now() - *first_end_ > kToFindOut;
    if (late)
      send(SIGKILL);  // whoever is alive by now is held, or hangs
  }

  /// Orderly, or at once by a second signal.
  bool ended_as_asked(int code) const {
    constexpr int kStoppedEarly = 3;
    return asked_ && (code == kStoppedEarly || code == 128 + SIGINT || code == 128 + SIGTERM);
  }

  int verdict() {
    if (failure_)
      return failure_->code;
    if (std::all_of(codes_.begin(), codes_.end(), [&](int code) { return ended_as_asked(code); }))
      return *codes_.rbegin();
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
  bool asked_ = false;
  std::set<int> codes_;
  std::optional<Clock::time_point> first_end_;
  std::optional<Failure> failure_;
  std::optional<Clock::time_point> known_since_;
  std::string how_;
};

}  // namespace

int run_local(const LocalJob& job, std::ostream& errors) {
  const HeldSignals signals;
  const std::string name = new_name();
  bool asked = false;
  for (int64_t again = 0;; ++again) {
    const int code = Attempt(job, {name, again}, signals, errors).run(asked);
    if (code != kRankLost || asked || again == job.max_restarts)
      return code;
    errors << "sterna: restart " << again + 1 << " of " << job.max_restarts << std::endl;
  }
}

}  // namespace sterna::dist
