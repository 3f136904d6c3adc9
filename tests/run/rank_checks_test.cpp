#include "trainer/run/rank_checks.h"

#include <gtest/gtest.h>

#include "recipes/user_error.h"

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

}  // namespace
}  // namespace sterna::run
