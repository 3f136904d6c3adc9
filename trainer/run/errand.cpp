#include "trainer/run/errand.h"

#include <algorithm>
#include <chrono>

#include "recipes/user_error.h"

namespace sterna::run {
namespace {

// First letter of what a rank says of its errand.
constexpr char kDone = '+';
constexpr char kUserError = 'u';
constexpr char kOtherError = 'e';

}  // namespace

Errand::Errand(dist::World& world, std::function<std::string()> act)
    : world_(world), work_(std::async(std::launch::async, std::move(act))) {}

void Errand::take() {
  try {
    said_ = kDone + work_.get();
  } catch (const recipes::UserError& error) {
    error_ = std::current_exception();
    said_ = kUserError + std::string(error.what());
  } catch (const std::exception& error) {
    error_ = std::current_exception();
    said_ = kOtherError + std::string(error.what());
  }
}

std::optional<std::vector<std::string>> Errand::look(bool wait) {
  using namespace std::chrono_literals;
  if (!said_ && (wait || work_.wait_for(0ms) == std::future_status::ready))
    take();
  std::vector<std::string> all = world_.gather_bytes(said_.value_or(""));
  if (std::any_of(all.begin(), all.end(), [](const std::string& each) { return each.empty(); }))
    return std::nullopt;
  if (error_)
    std::rethrow_exception(error_);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const std::string text = "rank " + std::to_string(rank) + ": " + all[rank].substr(1);
    if (all[rank].front() == kUserError)
      throw recipes::UserError(text);
    if (all[rank].front() == kOtherError)
      throw std::runtime_error(text);
    all[rank].erase(0, 1);
  }
  return all;
}

std::string Errand::run(dist::World& world, std::function<std::string()> act) {
  if (world.size() == 1)
    return act();
  return Errand(world, std::move(act)).look(/*wait=*/true)->front();
}

}  // namespace sterna::run
