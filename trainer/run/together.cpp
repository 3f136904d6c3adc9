#include "trainer/run/together.h"

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

using Facts = std::map<std::string, std::string>;

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

void together(dist::World& world, const std::function<void()>& work) {
  if (world.size() == 1)
    return work();
  std::string stopped;
  try {
    work();
  } catch (const Interrupted& signal) {
    stopped = signal.what();
  }
  for (const std::string& each : world.gather_bytes(stopped))
    if (!each.empty())
      throw Interrupted(stopped.empty() ? "another rank was " + each : stopped);
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
