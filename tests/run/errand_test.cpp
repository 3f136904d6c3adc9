// What ranks do at the same time and learn of together; ranks are threads here.
#include "trainer/run/errand.h"

#include <atomic>

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/run/rank_threads.h"

namespace sterna::run {
namespace {

using Strings = std::vector<std::string>;

TEST(Errand, GivesNothingBeforeTheSlowestRankIsThroughAndThenTheWordsOfAll) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<int> early = 0;
  const Strings errors = on_ranks(2, [&](dist::World& world) {
    Errand errand(world, [&, rank = world.rank()] {
      if (rank == 1)
        released.wait();
      return "of rank " + std::to_string(rank);
    });
    for (int i = 0; i < 3; ++i)
      early += errand.look(/*wait=*/false) ? 1 : 0;
    world.barrier();
    if (world.rank() == 1)
      release.set_value();
    EXPECT_EQ(errand.look(/*wait=*/true), (Strings{"of rank 0", "of rank 1"}));
  });
  EXPECT_EQ(errors, (Strings{"", ""}));
  EXPECT_EQ(early, 0);
}

TEST(Errand, ThatFailsOnOneRankFailsOnAllAndNamesIt) {
  std::atomic<int> users = 0;
  const Strings errors = on_ranks(3, [&](dist::World& world) {
    try {
      Errand::run(world, [&]() -> std::string {
        if (world.rank() == 1)
          throw recipes::UserError("the disk is full");
        return "";
      });
    } catch (const recipes::UserError&) {
      ++users;
      throw;
    }
  });
  EXPECT_EQ(errors,
            (Strings{"rank 1: the disk is full", "the disk is full", "rank 1: the disk is full"}));
  EXPECT_EQ(users, 3) << "a user's error is one everywhere";
}

TEST(Errand, ThatFailsInAnotherWayIsNoUsersErrorElsewhere) {
  std::atomic<int> users = 0;
  const Strings errors = on_ranks(2, [&](dist::World& world) {
    try {
      Errand::run(world, [&]() -> std::string {
        if (world.rank() == 0)
          throw std::out_of_range("index");
        return "";
      });
    } catch (const recipes::UserError&) {
      ++users;
    }
  });
  EXPECT_EQ(errors, (Strings{"index", "rank 0: index"}));
  EXPECT_EQ(users, 0);
}

TEST(Errand, TakesTheWordOfRankZero) {
  on_ranks(3, [](dist::World& world) {
    EXPECT_EQ(Errand::run(world, [&] { return std::to_string(10 + world.rank()); }), "10");
  });
}

}  // namespace
}  // namespace sterna::run
