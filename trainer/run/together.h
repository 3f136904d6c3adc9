#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "trainer/dist/world.h"

namespace sterna::run {

/// What every rank says of its part of some work, by rank: one message, behind all of them.
/// @throws Interrupted  on every rank where it was thrown on one; what else is thrown stays there
std::vector<std::string> told_together(dist::World& world,
                                       const std::function<std::string()>& work);

/// What every rank does on its own, or one for all: waits for all of them behind it, however long
/// one takes. Every rank calls it at the same place.
/// @throws Interrupted  on every rank where it was thrown on one; what else is thrown stays there
void together(dist::World& world, const std::function<void()>& work);

/// The same, done by rank 0 alone.
void on_rank_0(dist::World& world, const std::function<void()>& work);

/// The same, done by rank 0 first: the others find what it has made.
void rank_0_first(dist::World& world, const std::function<void()>& work);

/// For work in whose midst ranks meet: none may leave it alone. Every rank asks at the same place.
/// @throws Interrupted  on every rank where one was asked to stop
void stop_together(dist::World& world);

/// What rank 0 answers, on every rank.
bool as_rank_0(dist::World& world, const std::function<bool()>& ask);

/// Refuses ranks that do not agree, with the values of rank 0 and of the first that has others.
/// @param facts  values by name
/// @throws recipes::UserError  on every rank
void require_agreement(dist::World& world, const std::map<std::string, std::string>& facts);

}  // namespace sterna::run
