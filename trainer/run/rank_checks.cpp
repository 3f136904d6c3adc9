#include "trainer/run/rank_checks.h"

#include <map>
#include <vector>

#include "recipes/user_error.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

using recipes::UserError;

constexpr int64_t kMostNamed = 8;

/// True where every rank gets the same micro-batches: one, or several full ones.
bool divides(int64_t batch, int64_t accumulate, int64_t ranks) {
  const int64_t samples = batch * accumulate;
  const int64_t share = samples / ranks;
  return samples % ranks == 0 && (share <= batch || share % batch == 0);
}

/// "1, 2 or 4"
std::string listed(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i)
    text += (i == 0 ? "" : i + 1 == numbers.size() ? " or " : ", ") + std::to_string(numbers[i]);
  return text;
}

std::string ranks_named(const std::vector<int64_t>& ranks) {
  return ranks.size() == 1 ? "one rank" : listed(ranks) + " ranks";
}

std::vector<int64_t> fitting_ranks(const TrainConfig& config) {
  std::vector<int64_t> fitting;
  for (int64_t ranks = 1; ranks <= config.batch * config.accumulate &&
                          static_cast<int64_t>(fitting.size()) < kMostNamed;
       ++ranks)
    if (divides(config.batch, config.accumulate, ranks))
      fitting.push_back(ranks);
  return fitting;
}

/// The nearest train.accumulate below and above that does.
std::vector<int64_t> fitting_accumulates(const TrainConfig& config, int64_t ranks) {
  std::vector<int64_t> fitting;
  for (int64_t lower = config.accumulate - 1; lower > 0 && fitting.empty(); --lower)
    if (divides(config.batch, lower, ranks))
      fitting.push_back(lower);
  for (int64_t upper = config.accumulate + 1;; ++upper)  // ranks * anything does
    if (divides(config.batch, upper, ranks)) {
      fitting.push_back(upper);
      return fitting;
    }
}

void require_shares(const Session& session, int64_t ranks) {
  const TrainConfig& config = session.settings.train;
  require_even_shares(config, ranks);
  const int64_t share = config.batch * config.accumulate / ranks;
  if (session.samples && session.samples->together() == 2 && share % 2 != 0)
    throw UserError("train.batch: " + std::to_string(ranks) + " ranks get " +
                    std::to_string(share) +
                    " samples of a step each, which parts the two answers to a prompt; give each "
                    "an even number");
}

}  // namespace

void require_even_shares(const TrainConfig& config, int64_t ranks) {
  if (!divides(config.batch, config.accumulate, ranks))
    throw UserError("train.batch: " + std::to_string(config.batch) +
                    " samples x train.accumulate = " + std::to_string(config.accumulate) +
                    " cannot be shared evenly by " + std::to_string(ranks) +
                    " ranks in full micro-batches; take train.accumulate=" +
                    listed(fitting_accumulates(config, ranks)) + ", or " +
                    ranks_named(fitting_ranks(config)));
}

void require_ranks(const Session& session, int64_t ranks) {
  const Settings& s = session.settings;
  if (s.train.steps == 0)
    return;
  if (ranks > 1)
    require_shares(session, ranks);
}

std::string ranks_text(const TrainConfig& config, int64_t ranks) {
  const int64_t samples = config.batch * config.accumulate;
  const int64_t share = samples / ranks;
  const int64_t micro = std::min(share, config.batch);
  const std::vector<int64_t> fitting = fitting_ranks(config);
  std::string text = std::to_string(samples) + " samples a step (the global batch): on " +
                     (ranks == 1 ? "one rank " : "each of " + std::to_string(ranks) + " ranks ") +
                     std::to_string(micro > 0 ? share / micro : 0) +
                     (share == micro ? " micro-batch of " : " micro-batches of ") +
                     std::to_string(micro);
  if (fitting.size() > 1)
    text += "; " + ranks_named(fitting) + " can share them";
  return text;
}

void require_same_start(const recipes::Recipe& recipe,
                        bool resume,
                        dist::World& world,
                        const std::string& program) {
  std::map<std::string, std::string> facts = {{"the program", program}};
  for (const recipes::Difference& each : recipes::Recipe().diff(recipe))
    facts[each.key] = each.after;
  facts["--resume"] = resume ? "given" : "not given";
  require_agreement(world, facts);
}

void require_same_files(const Session& session) {
  std::map<std::string, std::string> facts;
  for (const auto& [what, hash] : session.hashes)
    facts["the hash of the " + what] = hash;
  require_agreement(*session.world, facts);
}

}  // namespace sterna::run
