// A model that writes its own training data (LLM-QAT).
#include "trainer/eval/self_generate.h"

#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/eval/generate.h"
#include "trainer/model/load.h"

namespace sterna::eval {
namespace {

using Sequences = std::vector<std::vector<int32_t>>;

class SelfGenerate : public testing::Test {
 protected:
  SelfGenerate() : decoder_(load()) {
    wanted_.sequences = 12;
    wanted_.length = 20;
    wanted_.first.resize(256);
    std::iota(wanted_.first.begin(), wanted_.first.end(), 0);
    wanted_.stop = {256};
    wanted_.vocab = decoder_.config().vocab;
  }

  model::Decoder load() const {
    tests::write_tiny_model(folder_.path());
    return model::load_decoder(model::inspect(folder_.path()), at::kFloat);
  }

  Sequences made() const {
    Sequences all;
    self_generate(decoder_, wanted_, [&](std::span<const int32_t> ids) {
      all.emplace_back(ids.begin(), ids.end());
    });
    return all;
  }

  const tests::TempFolder folder_;
  const model::Decoder decoder_;
  SelfGeneration wanted_;
};

TEST_F(SelfGenerate, DependsOnTheSeedAndNotOnWhatIsWrittenBeside) {
  const Sequences first = made();
  ASSERT_EQ(first.size(), 12u);
  EXPECT_EQ(made(), first);
  wanted_.batch = 5;
  EXPECT_EQ(made(), first);
  wanted_.sequences = 7;
  const Sequences fewer = made();
  EXPECT_TRUE(std::equal(fewer.begin(), fewer.end(), first.begin()));
  wanted_.seed = 1;
  EXPECT_NE(made(), fewer);
}

TEST_F(SelfGenerate, BeginsWithEveryWordOnceBeforeAnyTwice) {
  wanted_.first.resize(6);
  wanted_.length = 2;
  std::vector<std::multiset<int32_t>> rounds(2);
  const Sequences all = made();
  for (size_t i = 0; i < all.size(); ++i)
    rounds[i / 6].insert(all[i][0]);
  for (const auto& round : rounds)
    EXPECT_EQ(round, (std::multiset<int32_t>{0, 1, 2, 3, 4, 5}));
}

TEST_F(SelfGenerate, TakesTheLikeliestTokensFirstAndSamplesBehind) {
  wanted_.sequences = 60;
  const Sequences all = made();
  std::vector<int> followed(8, 0);  // by how many tokens sequences are greedy
  for (const auto& ids : all) {
    Sampling greedy;
    greedy.max_new = 8;
    const auto likeliest = generate(decoder_, {ids.data(), 1}, greedy, wanted_.stop);
    size_t same = 0;
    while (same < likeliest.size() && same + 1 < ids.size() && ids[same + 1] == likeliest[same])
      ++same;
    EXPECT_TRUE(same >= 3 || same == likeliest.size()) << same;
    followed[std::min<size_t>(same, 7)]++;
  }
  for (const int greedy : {3, 4, 5})
    EXPECT_GT(followed[greedy], 5) << greedy << " tokens";
  EXPECT_LT(followed[6] + followed[7], 10) << "what is sampled is seldom the likeliest";
}

TEST_F(SelfGenerate, EndsAtAnEndTokenOrTheLength) {
  wanted_.temperature = 5;  // near uniform: ends come
  wanted_.sequences = 100;
  wanted_.length = 60;
  int ended = 0;
  for (const auto& ids : made()) {
    const auto end = std::find(ids.begin(), ids.end(), 256);
    if (end == ids.end())
      EXPECT_EQ(ids.size(), 60u);
    else
      EXPECT_EQ(end + 1, ids.end());
    ended += end != ids.end();
  }
  EXPECT_GT(ended, 0);
}

TEST_F(SelfGenerate, SamplesAsOftenAsTheModelSays) {
  wanted_.sequences = 4000;
  wanted_.first = {65};
  wanted_.greedy_least = wanted_.greedy_most = 0;
  wanted_.length = 2;
  wanted_.batch = 500;
  at::Tensor counts = at::zeros({257}, at::kDouble);
  for (const auto& ids : made())
    counts[ids[1]].add_(1);
  const at::NoGradGuard no_grad;
  const auto cache = kvcache::make_full(decoder_.attention());
  const at::Tensor hidden =
      decoder_.hidden(at::full({1, 1}, 65, at::kLong), at::zeros({1}, at::kLong), *cache);
  const at::Tensor p = decoder_.head(hidden).view(-1).to(at::kDouble).softmax(0);
  // Chi squared of 256 degrees of freedom: 6 standard deviations above its mean.
  const double chi = ((counts - 4000 * p).square() / (4000 * p)).sum().item<double>();
  EXPECT_LT(chi, 256 + 6 * std::sqrt(512.0));
}

}  // namespace
}  // namespace sterna::eval
