#include "trainer/dist/meeting.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "recipes/user_error.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Hosts of a cluster start minutes apart.
constexpr auto kToAppear = 300s;
constexpr int64_t kBetweenLooks = 20;  // milliseconds; of more ranks each asks less often
constexpr const char* kAttempts = "attempts";
constexpr const char* kJob = "sterna/job";
constexpr int kStoppedEarly = 3;

void wait_a_little(const Launch& launch) {
  std::this_thread::sleep_for(std::chrono::milliseconds(std::max(kBetweenLooks, launch.size)));
}

std::string name_of_job(const std::string& job) {
  return job.empty() ? "a job without a name" : "job " + job;
}

std::string text_at(const Store& store, const std::string& key) {
  const std::vector<uint8_t> bytes = store->get(key);
  return {bytes.begin(), bytes.end()};
}

/// Whose store this is, as its rank 0 says.
std::string owner_of(const Store& store, const Launch& launch) {
  const std::string own = name_of_job(launch.job);
  if (launch.rank == 0 && !store->check({kJob}))
    store->set(kJob, std::vector<uint8_t>(own.begin(), own.end()));
  const auto start = Clock::now();
  while (!store->check({kJob})) {
    if (Clock::now() - start > kToAppear)
      throw std::runtime_error("rank 0 has not appeared within " +
                               std::to_string(kToAppear.count()) + " s");
    wait_a_little(launch);
  }
  return text_at(store, kJob);
}

void require_own_store(const Store& store, const Launch& launch, const Self& self) {
  const std::string owner = owner_of(store, launch);
  const std::string own = name_of_job(launch.job);
  if (owner != own)
    throw recipes::UserError("rank " + std::to_string(self.rank) + " of " + own + ", on " +
                             self.host + ", finds " + owner + " at " + launch.address + ":" +
                             std::to_string(launch.port) +
                             ": two jobs use one port; give one of them another MASTER_PORT");
}

/// One rank on its way to the others.
class Arrival {
 public:
  Arrival(Store job, const Launch& launch, const Self& self, Talk& talk)
      : job_(std::move(job)), launch_(launch), self_(self), talk_(talk) {
    sign_.host = self.host;
    sign_.process = getpid();
  }

  /// @return  whether all are here
  bool look(const std::function<bool()>& stopping) {
    look_for_attempt();
    if (!in_)
      return false;
    if (const auto failure = board_->failure())
      ending_->follow(*failure);
    if (stopping())
      ending_->fail(stopped_early(self_));
    if (self_.rank != 0) {
      require_living(0);
      return board_->is_open();
    }
    while (absent_ < board_->size() && board_->sign(absent_))
      ++absent_;
    if (absent_ < board_->size()) {
      require_living(absent_);
      return false;
    }
    board_->open();
    return true;
  }

  /// Nobody will come any more.
  [[noreturn]] void give_up(std::chrono::seconds waited) {
    if (!in_)
      throw std::runtime_error("another process is rank " + std::to_string(self_.rank) +
                               " of this job already, or rank 0 has not begun anew, within " +
                               std::to_string(waited.count()) + " s");
    int64_t rank = 0;
    while (rank + 1 < board_->size() && board_->sign(rank))
      ++rank;
    ending_->lose("rank " + std::to_string(rank) + " of " + std::to_string(board_->size()) +
                  " has not appeared within " + std::to_string(waited.count()) + " s");
  }

  Met met() const { return {attempt_, sign_}; }

 private:
  /// In a store that outlives attempts, the newest may be one from before this process.
  void look_for_attempt() {
    const int64_t newest = job_->add(kAttempts, 0);
    if (newest == attempt_)
      return;
    attempt_ = newest;
    board_.emplace(of_attempt(job_, newest), launch_.size);
    ending_.emplace(*board_, self_, talk_, [this] { return sign_; });
    const bool outlives_attempts = launch_.agent_store && !launch_.own_launcher;
    const bool over = outlives_attempts && board_->failure();
    in_ = !over && board_->appear(self_.rank, sign_);
  }

  void require_living(int64_t rank) {
    if (const auto how = board_->end_of(rank))
      ending_->lose("rank " + std::to_string(rank) + " is lost: it " + *how +
                    " before all had appeared");
  }

  Store job_;
  const Launch& launch_;
  const Self& self_;
  Talk& talk_;
  Sign sign_;
  int64_t attempt_ = 0;
  std::optional<Board> board_;
  std::optional<Ending> ending_;
  bool in_ = false;
  int64_t absent_ = 1;  ///< the first rank that rank 0 has not seen
};

}  // namespace

Store of_job(const Store& store, const std::string& job) {
  return c10::make_intrusive<c10d::PrefixStore>("sterna/job/" + job, store);
}

Store of_attempt(const Store& job, int64_t attempt) {
  return c10::make_intrusive<c10d::PrefixStore>(std::to_string(attempt), job);
}

int64_t begin_attempt(const Store& job) {
  return job->add(kAttempts, 1);
}

Failure stopped_early(const Self& self) {
  return {kStoppedEarly,
          "sterna: stopped before the first step; nothing to save (rank " +
              std::to_string(self.rank) + " on " + self.host + " was asked to)"};
}

Met meet(const Store& store,
         const Launch& launch,
         const Self& self,
         Talk& talk,
         const std::function<bool()>& stopping) {
  require_own_store(store, launch, self);
  const Store job = of_job(store, launch.job);
  if (launch.rank == 0 && !launch.own_launcher)
    begin_attempt(job);
  Arrival arrival(job, launch, self, talk);
  const auto start = Clock::now();
  while (!arrival.look(stopping)) {
    if (Clock::now() - start > kToAppear)
      arrival.give_up(kToAppear);
    wait_a_little(launch);
  }
  return arrival.met();
}

}  // namespace sterna::dist
