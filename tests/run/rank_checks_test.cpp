#include "trainer/run/rank_checks.h"

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/run/rank_threads.h"

namespace sterna::run {
namespace {

std::string refused(int64_t batch, int64_t accumulate, int64_t ranks) {
  Session session;
  session.settings.train.steps = 1;
  session.settings.train.batch = batch;
  session.settings.train.accumulate = accumulate;
  try {
    require_ranks(session, ranks);
  } catch (const recipes::UserError& error) {
    return error.what();
  }
  return "";
}

TEST(RankChecks, TakeStepsThatDivideIntoFullMicroBatchesOrOneShortOne) {
  EXPECT_EQ(refused(4, 4, 1), "");
  EXPECT_EQ(refused(4, 4, 2), "");
  EXPECT_EQ(refused(4, 1, 2), "");  // one micro-batch of 2
  EXPECT_EQ(refused(3, 1, 1), "");
  EXPECT_NE(refused(4, 1, 3), "");
  EXPECT_NE(refused(4, 3, 2), "");  // 6 samples are one and a half micro-batches
}

TEST(RankChecks, NameTheNumbersThatWouldDo) {
  const std::string text = refused(4, 3, 2);
  EXPECT_NE(text.find("train.accumulate=2 or 4"), std::string::npos) << text;
  EXPECT_NE(text.find("1, 3, 4, 6 or 12 ranks"), std::string::npos) << text;
  EXPECT_NE(refused(1, 1, 4).find("train.accumulate=4, or one rank"), std::string::npos)
      << refused(1, 1, 4);
}

TEST(RankChecks, SayWhatEachRankComputes) {
  TrainConfig config;
  config.batch = 4;
  config.accumulate = 2;
  EXPECT_EQ(ranks_text(config, 4),
            "8 samples a step (the global batch): on each of 4 ranks 1 micro-batch of 2; 1, 2, 4 "
            "or 8 ranks can share them");
}

/// What three ranks throw, of which the last is `other`.
using Look = std::function<void(dist::World&, bool other)>;

std::vector<std::string> refused_by_three(const Look& look) {
  return on_ranks(3, [&](dist::World& world) { look(world, world.rank() == 2); });
}

void expect_both(const std::vector<std::string>& errors, const std::string& difference) {
  for (const std::string& each : errors)
    EXPECT_EQ(each,
              "the ranks of a run do not agree:\n  " + difference +
                  " on rank 2\nGive all of them the same command, files and program.");
}

TEST(RankChecks, RefuseAnotherProgramRecipeOrWishToResume) {
  const auto start = [](dist::World& world, const char* steps, bool resume, const char* program) {
    auto recipe = recipes::Recipe::parse(std::string("[train]\nsteps = ") + steps, "test");
    recipe.section("train").read<TrainConfig>();
    require_same_start(recipe, resume, world, program);
  };
  expect_both(refused_by_three([&](dist::World& world, bool other) {
                start(world, "3", false, other ? "sterna 2" : "sterna 1");
              }),
              "the program is sterna 1 on rank 0, sterna 2");
  expect_both(refused_by_three([&](dist::World& world, bool other) {
                start(world, other ? "4" : "3", false, "sterna 1");
              }),
              "train.steps is 3 on rank 0, 4");
  expect_both(refused_by_three(
                  [&](dist::World& world, bool other) { start(world, "3", other, "sterna 1"); }),
              "--resume is not given on rank 0, given");
  const auto none = refused_by_three([&](dist::World& world, bool) {
    require_same_start(recipes::Recipe::parse("[train]\nsteps = 3", "test"), true, world);
  });
  EXPECT_EQ(none, std::vector<std::string>(3));
}

TEST(RankChecks, RefuseAnotherTokenizerTextOrModel) {
  for (const std::string what : {"tokenizer", "data", "source", "teacher", ""}) {
    const auto errors = refused_by_three([&](dist::World& world, bool other) {
      Session session;
      session.world = std::shared_ptr<dist::World>(&world, [](dist::World*) {});
      for (const char* each : {"tokenizer", "data", "source", "teacher"})
        session.hashes[each] = other && each == what ? "b2" : "a1";
      require_same_files(session);
    });
    if (what.empty()) {
      EXPECT_EQ(errors, std::vector<std::string>(3));
    } else {
      expect_both(errors, "the hash of the " + what + " is a1 on rank 0, b2");
    }
  }
}

}  // namespace
}  // namespace sterna::run
