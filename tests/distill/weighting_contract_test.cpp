// The promises of distill/weighting.h, for every registered weighting with its defaults.

#include <gtest/gtest.h>

#include "distill/weighting.h"

namespace sterna::distill {
namespace {

class WeightingContract : public testing::TestWithParam<std::string> {
 protected:
  WeightingContract() {
    at::manual_seed(3);
    tokens_.labelled = at::ones({3, 6}, at::kBool);
    tokens_.labelled[0].slice(0, 4).fill_(false);
    tokens_.labelled[2].fill_(false);  // a sequence without a single label
    tokens_.teacher_label_ce = at::randn({3, 6}, at::kDouble).pow(3).abs() * tokens_.labelled;
  }

  const std::unique_ptr<TokenWeighting> weighting_ = weightings().make_default(GetParam());
  TokenStats tokens_;
};

TEST_P(WeightingContract, GivesOneFiniteWeightInDoublePerToken) {
  const Tensor w = weighting_->weights(tokens_);
  EXPECT_EQ(w.sizes(), tokens_.labelled.sizes());
  EXPECT_EQ(w.scalar_type(), at::kDouble);
  EXPECT_TRUE(w.isfinite().all().item<bool>());
}

TEST_P(WeightingContract, UnlabelledTokensWeighNothing) {
  const Tensor w = weighting_->weights(tokens_);
  EXPECT_EQ(w.masked_select(~tokens_.labelled).abs().sum().item<double>(), 0.0);
}

TEST_P(WeightingContract, ASequenceDoesNotSeeTheRestOfTheBatch) {
  const Tensor whole = weighting_->weights(tokens_);
  const Tensor alone = weighting_->weights(
      {tokens_.labelled.slice(0, 0, 1), tokens_.teacher_label_ce.slice(0, 0, 1)});
  EXPECT_TRUE(at::allclose(whole.slice(0, 0, 1), alone, /*rtol=*/1e-12, /*atol=*/0));
}

TEST_P(WeightingContract, WeightsAddUpToTheCount) {
  EXPECT_NEAR(weighting_->weights(tokens_).sum().item<double>(),
              weighting_->count(tokens_.labelled),
              1e-12);
}

TEST_P(WeightingContract, CountsOfPartsAddUpToTheCountOfTheWhole) {
  const auto part = [&](int64_t from, int64_t to) {
    return weighting_->count(tokens_.labelled.slice(0, from, to));
  };
  EXPECT_EQ(part(0, 1) + part(1, 3), weighting_->count(tokens_.labelled));
}

TEST_P(WeightingContract, OnlyOneThatSaysSoReadsTheTeacher) {
  if (weighting_->needs_teacher())
    GTEST_SKIP() << "needs the teacher";
  const Tensor w = weighting_->weights({tokens_.labelled, Tensor()});
  EXPECT_TRUE(at::equal(w, weighting_->weights(tokens_)));
}

INSTANTIATE_TEST_SUITE_P(Registered,
                         WeightingContract,
                         testing::ValuesIn(weightings().names()),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace sterna::distill
