#pragma once

#include <exception>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "trainer/dist/world.h"

namespace sterna::run {

/// Something that every rank does in a thread of its own, and whose end all learn of together. Only
/// look() talks to other ranks: the thread never does.
class Errand {
 public:
  /// Starts the thread.
  Errand(dist::World& world, std::function<std::string()> act);

  /// What `act` gave on every rank, by rank, once all are through; nothing before. Collective.
  /// @param wait  until all are through, the same on every rank: one that hangs is missed then
  /// @throws what `act` threw here; where it only threw elsewhere, a UserError or a
  ///         std::runtime_error with the rank and its words
  std::optional<std::vector<std::string>> look(bool wait);

  /// Does something on this rank, in no thread where it is the only one, and waits for all others.
  /// @return  what it gave on rank 0
  /// @throws  as look()
  static std::string run(dist::World& world, std::function<std::string()> act);

 private:
  void take();

  dist::World& world_;
  std::optional<std::string> said_;
  std::exception_ptr error_;
  std::future<std::string> work_;  // its end waits for the thread
};

}  // namespace sterna::run
