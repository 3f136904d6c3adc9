#pragma once

#include <barrier>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "tests/run/worlds.h"

namespace sterna::run {

/// Where ranks that are threads of this process tell each other something.
class Assembly {
 public:
  explicit Assembly(int64_t ranks) : said_(ranks), barrier_(ranks) {}

  std::vector<std::string> gather(int64_t rank, const std::string& bytes) {
    said_[rank] = bytes;
    barrier_.arrive_and_wait();
    std::vector<std::string> all = said_;
    barrier_.arrive_and_wait();  // everybody has read before anybody speaks again
    return all;
  }
  int64_t ranks() const { return static_cast<int64_t>(said_.size()); }
  void leave() { barrier_.arrive_and_drop(); }

 private:
  std::vector<std::string> said_;
  std::barrier<> barrier_;
};

/// One rank of an Assembly, which can do nothing else.
class AssemblyWorld final : public SumOnly {
 public:
  AssemblyWorld(Assembly& assembly, int64_t rank) : assembly_(assembly), rank_(rank) {}

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return assembly_.ranks(); }
  dist::WorkHandle all_reduce(const std::vector<at::Tensor>&) override {
    throw std::logic_error("nothing is to be summed");
  }
  std::vector<std::string> gather_bytes(const std::string& bytes) override {
    return assembly_.gather(rank_, bytes);
  }
  void barrier() override { assembly_.gather(rank_, ""); }

 private:
  Assembly& assembly_;
  int64_t rank_;
};

/// Does something on each of so many ranks.
/// @return  what each threw; empty where it threw nothing
inline std::vector<std::string> on_ranks(int64_t ranks,
                                         const std::function<void(dist::World&)>& act) {
  Assembly assembly(ranks);
  std::vector<std::string> errors(ranks);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      AssemblyWorld world(assembly, rank);
      try {
        act(world);
      } catch (const std::exception& error) {
        errors[rank] = error.what();
      }
      assembly.leave();
    });
  for (std::thread& thread : threads)
    thread.join();
  return errors;
}

}  // namespace sterna::run
