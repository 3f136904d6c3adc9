// Perplexity and divergence against one window, one position at a time in fp64.
#include "trainer/eval/perplexity.h"

#include <cmath>

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/support/paths.h"
#include "trainer/eval/generate.h"
#include "trainer/model/load.h"

namespace sterna::eval {
namespace {

using at::Tensor;

model::Decoder tiny() {
  return model::load_decoder(
      model::inspect(tests::source_dir() / "tests" / "golden" / "tiny_llama"), at::kFloat);
}

// The same model with its head turned a little.
model::Decoder turned() {
  model::Decoder decoder = tiny();
  at::manual_seed(3);
  Tensor& w = decoder.head_linear().weight;
  w = w + 0.05 * at::randn(w.sizes()).pow(3);
  return decoder;
}

std::vector<int32_t> text(int64_t tokens) {
  at::manual_seed(4);
  const Tensor ids = at::randint(0, 64, {tokens}, at::kInt);
  return {ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + tokens};
}

Tensor log_p(const model::Decoder& decoder, std::span<const int32_t> inputs) {
  const auto cache = kvcache::make_eager(decoder.attention());
  const Tensor ids =
      at::tensor(at::ArrayRef<int32_t>(inputs.data(), inputs.size()), at::kLong).unsqueeze(0);
  const Tensor h = decoder.hidden(ids, at::arange(ids.size(1)), *cache);
  return decoder.head(h)[0].to(at::kDouble).log_softmax(-1);
}

// Every scored (window, position) of the rule, written out.
struct Naive {
  std::vector<double> nll, kld;
  int64_t same = 0;
};

Naive naive(const model::Decoder& a,
            const model::Decoder* r,
            const std::vector<int32_t>& ids,
            const EvalOptions& o) {
  Naive out;
  const int64_t stride = o.stride == 0 ? o.window : o.stride;
  const int64_t need = o.window + (o.overlap_target ? 1 : 0);
  int64_t index = 0;
  for (int64_t at = 0; at + need <= static_cast<int64_t>(ids.size()); at += stride, ++index) {
    if (o.max_windows > 0 && index == o.max_windows)
      break;
    const Tensor mine = log_p(a, std::span(ids).subspan(at, o.window));
    const Tensor theirs = r == nullptr ? mine : log_p(*r, std::span(ids).subspan(at, o.window));
    const int64_t targets = need - 1;
    for (int64_t j = 0; j < targets; ++j) {
      const bool half = o.score == Score::kHalf && j < o.window / 2;
      const bool seen = index > 0 && stride < o.window && j < targets - stride;
      if (half || seen)
        continue;
      out.nll.push_back(-mine[j][ids[at + j + 1]].item<double>());
      out.kld.push_back((theirs[j].exp() * (theirs[j] - mine[j])).sum().item<double>());
      out.same += mine[j].argmax().item<int64_t>() == theirs[j].argmax().item<int64_t>();
    }
  }
  return out;
}

double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x)
    sum += v;
  return sum / static_cast<double>(x.size());
}

class Windows : public testing::TestWithParam<EvalOptions> {};

TEST_P(Windows, EqualTheRuleWrittenOut) {
  const model::Decoder decoder = tiny();
  const model::Decoder reference = turned();
  const auto ids = text(101);
  const Naive expected = naive(decoder, &reference, ids, GetParam());
  const EvalResult got = evaluate(decoder, ids, GetParam(), &reference);
  ASSERT_EQ(got.predicted_tokens, static_cast<int64_t>(expected.nll.size()));
  EXPECT_NEAR(got.nll, mean(expected.nll), 1e-5);
  EXPECT_NEAR(got.ppl, std::exp(mean(expected.nll)), 1e-3);
  EXPECT_EQ(got.tokens, 101);
  double squares = 0;
  for (const double x : expected.nll)
    squares += std::pow(x - mean(expected.nll), 2);
  const auto n = static_cast<double>(expected.nll.size());
  EXPECT_NEAR(got.ppl_stderr, got.ppl * std::sqrt(squares / n / (n - 1)), 1e-3);

  ASSERT_TRUE(got.divergence.has_value());
  EXPECT_GT(got.divergence->mean, 1e-4);
  EXPECT_NEAR(got.divergence->mean, mean(expected.kld), 1e-5);
  EXPECT_NEAR(
      got.divergence->max, *std::max_element(expected.kld.begin(), expected.kld.end()), 1e-5);
  EXPECT_NEAR(got.divergence->same_top, static_cast<double>(expected.same) / n, 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Rules,
                         Windows,
                         testing::Values(EvalOptions{10, 0, 0, false, Score::kAll, 0},
                                         EvalOptions{10, 0, 0, true, Score::kAll, 3},
                                         EvalOptions{11, 4, 0, false, Score::kAll, 2},
                                         EvalOptions{11, 4, 5, true, Score::kAll, 4},
                                         EvalOptions{12, 0, 0, false, Score::kHalf, 1},
                                         EvalOptions{25, 0, 2, false, Score::kHalf, 0}));

TEST(Perplexity, OfAModelAgainstItselfHasNoDivergence) {
  const model::Decoder decoder = tiny();
  const EvalResult got = evaluate(decoder, text(64), {16}, &decoder);
  EXPECT_LT(got.divergence->max, 1e-9);
  EXPECT_EQ(got.divergence->same_top, 1.0);
  EXPECT_EQ(got.divergence->ppl_ratio, 1.0);
}

TEST(Perplexity, PercentilesLieBetweenTheNearestRanksAndTheRatioIsOfPerplexities) {
  const model::Decoder decoder = tiny();
  const model::Decoder reference = turned();
  const auto ids = text(41);
  const EvalOptions options{40, 0, 0, true, Score::kAll, 0};
  auto kld = naive(decoder, &reference, ids, options).kld;
  std::sort(kld.begin(), kld.end());
  const EvalResult got = evaluate(decoder, ids, options, &reference);
  // 40 values: the median is halfway between ranks 19 and 20; 95 % is rank 37.05.
  EXPECT_NEAR(got.divergence->median, (kld[19] + kld[20]) / 2, 1e-6);
  EXPECT_NEAR(got.divergence->p95, 0.95 * kld[37] + 0.05 * kld[38], 1e-6);
  EXPECT_NEAR(got.divergence->ppl_ratio, got.ppl / evaluate(reference, ids, options).ppl, 1e-6);
}

TEST(Perplexity, ATextShorterThanAWindowIsOneWindow) {
  const EvalResult got = evaluate(tiny(), text(7), {1024});
  EXPECT_EQ(got.predicted_tokens, 6);
  EXPECT_EQ(got.window, 7);
}

TEST(Perplexity, AWindowBeyondThePositionsOfModelOrReferenceIsRefused) {
  const model::Decoder decoder = tiny();
  const int64_t most = decoder.config().max_positions;
  EXPECT_NO_THROW(evaluate(decoder, text(most + 1), {most}));
  EXPECT_THROW(evaluate(decoder, text(most + 1), {most + 1}), recipes::UserError);
  model::CheckpointInfo info =
      model::inspect(tests::source_dir() / "tests" / "golden" / "tiny_llama");
  info.config.max_positions = most + 1;
  const model::Decoder longer = model::load_decoder(info, at::kFloat);
  EXPECT_NO_THROW(evaluate(longer, text(most + 1), {most + 1}));
  EXPECT_THROW(evaluate(longer, text(most + 1), {most + 1}, &decoder), recipes::UserError);
}

TEST(Perplexity, NanCountsAsInfinitelyBadAndIsCounted) {
  model::Decoder broken = tiny();
  broken.head_linear().weight.index_put_({5, 0}, NAN);  // spoils every softmax
  const model::Decoder reference = tiny();
  const EvalResult got = evaluate(broken, text(64), {16}, &reference);
  EXPECT_EQ(got.not_finite, got.predicted_tokens);
  EXPECT_TRUE(std::isinf(got.ppl));
  EXPECT_TRUE(std::isinf(got.divergence->median));
  EXPECT_EQ(evaluate(reference, text(64), {16}).not_finite, 0);
}

TEST(Perplexity, RefusesTextsWithoutAPredictionAndStridesBeyondTheWindow) {
  const model::Decoder decoder = tiny();
  EXPECT_THROW(evaluate(decoder, text(1), {16}), recipes::UserError);
  EXPECT_THROW(evaluate(decoder, {}, {16}), recipes::UserError);
  EXPECT_THROW(evaluate(decoder, text(50), {16, 17}), recipes::UserError);
}

TEST(Generate, WithACacheTakesTheTokensThatWholePassesTake) {
  const model::Decoder decoder = tiny();
  auto ids = text(5);
  const auto made = generate(decoder, ids, {12}, {});
  ASSERT_EQ(made.size(), 12u);
  for (const int32_t id : made) {
    EXPECT_EQ(id, log_p(decoder, ids)[-1].argmax().item<int64_t>());
    ids.push_back(id);
  }
}

TEST(Generate, StopsAtAnEndTokenAtTheCallersWishAndAtTheLastPosition) {
  const model::Decoder decoder = tiny();
  const auto ids = text(5);
  const auto free = generate(decoder, ids, {12}, {});
  const std::vector<int64_t> stop{free[0]};
  EXPECT_EQ(generate(decoder, ids, {12}, stop).size(), 1u);
  EXPECT_EQ(generate(decoder, ids, {12}, {}, [](int32_t) { return false; }).size(), 1u);
  EXPECT_EQ(generate(decoder, text(126), {12}, {}).size(), 3u);  // positions 126, 127, and one on
  EXPECT_THROW(generate(decoder, text(128), {12}, {}), recipes::UserError);
  EXPECT_THROW(generate(decoder, {}, {12}, {}), recipes::UserError);
}

TEST(Generate, SamplingFollowsTheProbabilitiesAndTheSeed) {
  const Tensor logits = at::tensor({0.5, 0.3, 0.2}, at::kDouble).log();
  std::vector<int> counts(3);
  for (uint64_t position = 0; position < 4000; ++position)
    ++counts[choose(logits, {1, 1.0, 1.0, 7}, position)];
  // Standard deviation of a share is below 0.008.
  EXPECT_NEAR(counts[0] / 4000.0, 0.5, 0.04);
  EXPECT_NEAR(counts[2] / 4000.0, 0.2, 0.04);
  for (uint64_t position = 0; position < 200; ++position) {
    EXPECT_LT(choose(logits, {1, 1.0, 0.79, 7}, position), 2);  // 0.5 + 0.3 reach 0.79
    EXPECT_EQ(choose(logits, {1, 1.0, 0.0, 7}, position), 0);
  }
  EXPECT_EQ(uniform_at(7, 3), uniform_at(7, 3));
  EXPECT_NE(uniform_at(7, 3), uniform_at(8, 3));
}

TEST(Perplexity, WindowsWithoutAScoredPredictionAreRefused) {
  const model::Decoder decoder = tiny();
  EXPECT_THROW(evaluate(decoder, text(64), EvalOptions{2, 0, 0, false, Score::kHalf, 0}),
               recipes::UserError);
}

}  // namespace
}  // namespace sterna::eval
