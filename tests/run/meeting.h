#pragma once

#include <condition_variable>
#include <ctime>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "trainer/dist/world.h"

namespace sterna::run {

/// Where ranks that are threads of this process meet. Collectives are asynchronous: whoever comes
/// last computes.
class Meeting {
 public:
  struct Call {
    std::string kind;
    std::vector<std::vector<at::Tensor>> in, out;  ///< by rank
    std::vector<std::string> bytes;
    int64_t arrived = 0;
    bool done = false;
  };
  using Body = std::function<void(Call&)>;

  explicit Meeting(int64_t ranks) : ranks_(ranks), calls_(static_cast<size_t>(ranks), 0) {}

  int64_t ranks() const { return ranks_; }

  /// @param fill  puts what this rank brings into the call, under the lock
  std::shared_ptr<Call> join(int64_t rank,
                             const std::string& kind,
                             const Body& fill,
                             const Body& body) {
    const std::scoped_lock lock(mutex_);
    const size_t index = calls_[rank]++;
    if (index == all_.size()) {
      all_.push_back(std::make_shared<Call>());
      all_[index]->kind = kind;
      all_[index]->in.resize(ranks_);
      all_[index]->out.resize(ranks_);
      all_[index]->bytes.resize(ranks_);
    }
    const std::shared_ptr<Call> call = all_[index];
    if (call->kind != kind)
      throw std::logic_error("rank " + std::to_string(rank) + " calls " + kind +
                             " where another calls " + call->kind);
    fill(*call);
    if (++call->arrived < ranks_)
      return call;
    const at::NoGradGuard no_grad;
    body(*call);
    call->in.clear();
    call->out.clear();
    call->done = true;
    changed_.notify_all();
    return call;
  }

  void wait(const Call& call) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return call.done || left_; });
    if (!call.done)
      throw std::runtime_error("another rank left");
  }

  /// For a rank that failed, so that the others do not wait for it.
  void leave() {
    const std::scoped_lock lock(mutex_);
    left_ = true;
    changed_.notify_all();
  }

 private:
  const int64_t ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<size_t> calls_;
  std::deque<std::shared_ptr<Call>> all_;
  bool left_ = false;
};

/// One rank of a Meeting. Notes what it hands over, and what it would wait for a wire of its own
/// that takes `latency` for each collective of more than a few numbers, one after the other. Time
/// is what this thread has computed and waited so: other work on the machine does not count.
class MeetingWorld final : public dist::World {
 public:
  struct Event {
    std::string kind;
    int64_t elements = 0;  ///< of the whole, what an all_gather gives or a reduce_scatter takes
    int64_t bytes = 0;     ///< the same
  };

  MeetingWorld(Meeting& meeting, int64_t rank) : meeting_(meeting), rank_(rank) {}

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return meeting_.ranks(); }

  dist::WorkHandle all_reduce(const std::vector<at::Tensor>& tensors) override {
    note("all_reduce", tensors);
    return start("all_reduce", tensors, tensors, [](Meeting::Call& call) {
      for (size_t i = 0; i < call.in[0].size(); ++i) {
        at::Tensor sum = call.in[0][i].clone();
        for (size_t rank = 1; rank < call.in.size(); ++rank)
          sum.add_(call.in[rank].at(i));
        for (const auto& own : call.out)
          at::Tensor(own[i]).copy_(sum);
      }
    });
  }

  dist::WorkHandle reduce_scatter(at::Tensor out, const at::Tensor& in) override {
    TORCH_CHECK(in.numel() == out.numel() * size(), "reduce_scatter: sizes do not fit");
    note("reduce_scatter", {in});
    return start("reduce_scatter", {in}, {out}, [](Meeting::Call& call) {
      for (size_t rank = 0; rank < call.out.size(); ++rank) {
        const int64_t n = call.out[rank][0].numel();
        const auto part = [&](size_t from) {
          return call.in[from][0].narrow(0, static_cast<int64_t>(rank) * n, n);
        };
        at::Tensor sum = part(0).clone();
        for (size_t from = 1; from < call.in.size(); ++from)
          sum.add_(part(from));
        call.out[rank][0].copy_(sum);
      }
    });
  }

  dist::WorkHandle all_gather(at::Tensor out, const at::Tensor& in) override {
    TORCH_CHECK(out.numel() == in.numel() * size(), "all_gather: sizes do not fit");
    note("all_gather", {out});
    return start("all_gather", {in}, {out}, [](Meeting::Call& call) {
      std::vector<at::Tensor> parts;
      for (const auto& own : call.in)
        parts.push_back(own[0]);
      const at::Tensor all = at::cat(parts);
      for (const auto& own : call.out)
        at::Tensor(own[0]).copy_(all);
    });
  }

  dist::WorkHandle broadcast(const std::vector<at::Tensor>& tensors, int64_t root) override {
    note("broadcast", tensors);
    return start("broadcast", tensors, tensors, [root](Meeting::Call& call) {
      for (size_t rank = 0; rank < call.out.size(); ++rank)
        for (size_t i = 0; i < call.out[rank].size(); ++i)
          if (static_cast<int64_t>(rank) != root)
            call.out[rank][i].copy_(call.in[root].at(i));
    });
  }

  std::vector<std::string> gather_bytes(const std::string& bytes) override {
    const auto call = meeting_.join(
        rank_, "gather_bytes", [&](Meeting::Call& c) { c.bytes[rank_] = bytes; }, [](auto&) {});
    meeting_.wait(*call);
    return call->bytes;
  }

  void barrier() override { gather_bytes(""); }
  [[noreturn]] void abort(const std::string& reason) override {
    meeting_.leave();
    throw std::runtime_error(reason);
  }
  std::unique_ptr<World> subgroup(const std::vector<int64_t>&) override {
    throw std::logic_error("no test asks for a part of a meeting");
  }

  static constexpr int64_t kSmall = 1024;  ///< bytes that cost nothing

  /// Seconds that this thread has computed.
  static double computed() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }

  std::vector<Event> events;
  double latency = 0;             ///< seconds
  double exposed = 0;             ///< seconds that the wire would have been waited for
  std::function<void()> watch{};  ///< called where a collective begins

 private:
  class Waiting final : public dist::Work {
   public:
    Waiting(MeetingWorld& world, std::shared_ptr<Meeting::Call> call, double ready)
        : world_(world), call_(std::move(call)), ready_(ready) {}
    void wait() override {
      world_.exposed += std::max(0.0, ready_ - world_.now());
      world_.meeting_.wait(*call_);
    }

   private:
    MeetingWorld& world_;
    std::shared_ptr<Meeting::Call> call_;
    double ready_;
  };

  double now() const { return computed() + exposed; }

  void note(const std::string& kind, const std::vector<at::Tensor>& tensors) {
    Event event{kind};
    for (const at::Tensor& tensor : tensors) {
      event.elements += tensor.numel();
      event.bytes += static_cast<int64_t>(tensor.nbytes());
    }
    events.push_back(event);
    if (watch)
      watch();
  }

  dist::WorkHandle start(const std::string& kind,
                         const std::vector<at::Tensor>& in,
                         const std::vector<at::Tensor>& out,
                         const Meeting::Body& body) {
    const auto fill = [&](Meeting::Call& call) {
      call.in[rank_] = in;
      call.out[rank_] = out;
    };
    const bool large = !events.empty() && events.back().bytes > kSmall;
    const double ready = large ? std::max(now(), wire_free_) + latency : 0;
    wire_free_ = std::max(ready, wire_free_);
    return std::make_shared<Waiting>(*this, meeting_.join(rank_, kind, fill, body), ready);
  }

  Meeting& meeting_;
  int64_t rank_;
  double wire_free_ = 0;
};

/// Runs `body(world)` on every rank, each a thread; what one throws is thrown here.
inline void on_ranks(Meeting& meeting, const std::function<void(MeetingWorld&)>& body) {
  std::exception_ptr first;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < meeting.ranks(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        at::set_num_threads(1);  // the ranks together are what the machine has
        MeetingWorld world(meeting, rank);
        body(world);
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!first)
          first = std::current_exception();
        meeting.leave();
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  if (first)
    std::rethrow_exception(first);
}

}  // namespace sterna::run
