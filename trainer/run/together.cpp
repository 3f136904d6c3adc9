#include "trainer/run/together.h"

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

using at::Tensor;
using Facts = std::map<std::string, std::string>;

constexpr char kSaid = '+';
constexpr char kStopped = '-';

std::string to_text(const Facts& facts) {
  return nlohmann::json(facts).dump();
}

std::string value_in(const Facts& facts, const std::string& name) {
  const auto at = facts.find(name);
  return at == facts.end() ? "nothing" : at->second;
}

/// "train.steps is 3 on rank 0, 4 on rank 2", a line each.
std::string difference(const Facts& first, const Facts& other, int64_t rank) {
  Facts all = first;
  all.insert(other.begin(), other.end());
  std::string text;
  for (const auto& [name, value] : all)
    if (value_in(first, name) != value_in(other, name))
      text += "\n  " + name + " is " + value_in(first, name) + " on rank 0, " +
              value_in(other, name) + " on rank " + std::to_string(rank);
  return text;
}

}  // namespace

std::vector<std::string> told_together(dist::World& world,
                                       const std::function<std::string()>& work) {
  if (world.size() == 1)
    return {work()};
  std::string own;  // empty, or the first letter says what follows
  bool stopped = false;
  try {
    own = work();
    if (!own.empty())
      own.insert(0, 1, kSaid);
  } catch (const Interrupted& signal) {
    stopped = true;
    own = kStopped + std::string(signal.what());
  }
  std::vector<std::string> told = world.gather_bytes(own);
  for (std::string& each : told) {
    if (each.empty())
      continue;
    const bool by_signal = each.front() == kStopped;
    each.erase(0, 1);
    if (by_signal)
      throw Interrupted(stopped ? own.substr(1) : "another rank was " + each);
  }
  return told;
}

void together(dist::World& world, const std::function<void()>& work) {
  told_together(world, [&] {
    work();
    return std::string();
  });
}

void stop_together(dist::World& world) {
  const Tensor asked = at::full({1}, SignalWatch::arrived() ? 1.0 : 0.0, at::kDouble);
  world.all_reduce({asked})->wait();
  if (asked.item<double>() == 0)
    return;
  SignalWatch::check();
  throw Interrupted("another rank was asked to stop");
}

void on_rank_0(dist::World& world, const std::function<void()>& work) {
  together(world, [&] {
    if (world.rank() == 0)
      work();
  });
}

void rank_0_first(dist::World& world, const std::function<void()>& work) {
  on_rank_0(world, work);
  if (world.size() > 1)
    together(world, [&] {
      if (world.rank() != 0)
        work();
    });
}

bool as_rank_0(dist::World& world, const std::function<bool()>& ask) {
  const std::string answer = world.rank() == 0 && ask() ? "y" : "";
  return !world.gather_bytes(answer).front().empty();
}

void require_agreement(dist::World& world, const Facts& facts) {
  const std::vector<std::string> all = world.gather_bytes(to_text(facts));
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0])
      continue;
    const auto first = nlohmann::json::parse(all[0]).get<Facts>();
    const auto other = nlohmann::json::parse(all[rank]).get<Facts>();
    throw recipes::UserError(
        "the ranks of a run do not agree:" + difference(first, other, static_cast<int64_t>(rank)) +
        "\nGive all of them the same command, files and program.");
  }
}

}  // namespace sterna::run
