// The matrix of sharing_test.cpp on a real model and real text: stories260K, distilled from itself
// under three levels (TSLD).
#include "tests/run/low_precision.h"
#include "tests/support/data.h"
#include "trainer/data/eval_text.h"
#include "trainer/eval/perplexity.h"
#include "trainer/text/tokenizer.h"

namespace sterna::run {
namespace {

constexpr int64_t kTokens = 64;
constexpr int64_t kSteps = 20;

/// Stretches of a text, one behind the other.
class Stretches final : public Repeated {
 public:
  explicit Stretches(std::vector<int32_t> ids) : ids_(std::move(ids)) {}
  data::Sample at(int64_t index) const override {
    data::Sample sample;
    const auto begin = ids_.begin() + index * kTokens;
    sample.ids.assign(begin, begin + kTokens + 1);
    sample.loss.assign(kTokens, 1);
    return sample;
  }

 private:
  std::vector<int32_t> ids_;
};

/// What is trained on, and behind it what is evaluated on.
struct Text {
  std::shared_ptr<const Stretches> samples;
  std::vector<int32_t> held_out;
};

Text text() {
  data::EvalTextOptions options;
  options.text = {tests::data_dir() / "tinystories/tinystories.heldout.txt"};
  options.separator = "<|endoftext|>";
  options.max_documents = 150;
  const auto info = model::inspect(tests::data_dir() / "stories260K/hf");
  const auto ids = data::read_eval_ids(options, *text::open_tokenizer(info.tokenizer_path));
  const int64_t cut = kSteps * 8 * kTokens + 1;
  return {std::make_shared<const Stretches>(std::vector<int32_t>(ids.begin(), ids.begin() + cut)),
          {ids.begin() + cut, ids.begin() + cut + 8 * 513}};
}

struct Trained20 {
  Whole whole;
  double ppl = 0;
};

Trained20 train(Spread spread, const Text& text) {
  spread.samples = text.samples;
  spread.lr = 2e-4;
  // Gradients of a clipped step are about 2e-3. Those near zero are the rounding of sums in another
  // order, of which AdamW's usual eps would make whole updates.
  spread.eps = 1e-5;
  Trained20 result;
  const auto evaluate = [&](SpreadRank& rank) {
    rank.student->materialize();
    eval::EvalOptions options;
    options.window = 512;
    options.share = in_step(rank.world);
    const HeadsAtHand heads(rank.sharing.get());
    const double ppl = eval::evaluate(rank.student->decoder(), text.held_out, options).ppl;
    if (rank.world.rank() == 0)
      result.ppl = ppl;
  };
  result.whole =
      run_on(tests::data_dir() / "stories260K/hf", spread, kSteps, ternary_in_blocks, evaluate);
  return result;
}

class Stories : public testing::TestWithParam<Spread> {};

TEST_P(Stories, AreLearnedAsOnOneRank) {
  STERNA_REQUIRE_DATA("stories260K/hf");
  STERNA_REQUIRE_DATA("tinystories/tinystories.heldout.txt");
  static const Text kText = text();
  static const Trained20 kAlone = train({}, kText);
  EXPECT_LT(kAlone.whole.losses.back(), 0.95 * kAlone.whole.losses.front()) << "it learns";
  const Trained20 found = train(GetParam(), kText);
  for (const auto& [name, wanted] : kAlone.whole.gradients)
    EXPECT_LT(apart(found.whole.gradients.at(name), wanted), 1e-6) << name;
  for (int64_t step = 0; step < kSteps; ++step)
    EXPECT_NEAR(
        found.whole.losses[step], kAlone.whole.losses[step], 1e-3 * kAlone.whole.losses[step])
        << step;
  EXPECT_NEAR(found.ppl, kAlone.ppl, 0.005 * kAlone.ppl);
}

INSTANTIATE_TEST_SUITE_P(Matrix, Stories, testing::ValuesIn(spreads()), spread_name);

class StoriesTwice : public testing::TestWithParam<Spread> {};

TEST_P(StoriesTwice, EndInTheSameBits) {
  STERNA_REQUIRE_DATA("stories260K/hf");
  STERNA_REQUIRE_DATA("tinystories/tinystories.heldout.txt");
  static const Text kText = text();
  const Trained20 once = train(GetParam(), kText);
  const Trained20 again = train(GetParam(), kText);
  EXPECT_NE(once.whole.losses.front(), once.whole.losses.back());
  EXPECT_EQ(again.whole.losses, once.whole.losses);
  EXPECT_EQ(again.whole.norms, once.whole.norms);
  EXPECT_EQ(again.ppl, once.ppl);
  for (Values Whole::*values : {&Whole::gradients, &Whole::masters, &Whole::learned}) {
    ASSERT_EQ((again.whole.*values).size(), (once.whole.*values).size());
    for (const auto& [name, wanted] : once.whole.*values)
      EXPECT_TRUE(at::equal((again.whole.*values).at(name), wanted)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes,
                         StoriesTwice,
                         testing::Values(Spread{"ddp", 1, 2},
                                         Spread{"ddp", 2, 2},
                                         Spread{"zero2", 2, 2},
                                         Spread{"ddp", 4, 1},
                                         Spread{"zero1", 4, 2},
                                         Spread{"zero3", 4, 2, true}),
                         spread_name);

class StoriesInBf16 : public testing::TestWithParam<Spread> {};

TEST_P(StoriesInBf16, AreLearnedAsOnOneRank) {
  STERNA_REQUIRE_DATA("stories260K/hf");
  STERNA_REQUIRE_DATA("tinystories/tinystories.heldout.txt");
  static const Text kText = text();
  static std::map<at::ScalarType, Trained20> alone;  // by what computes
  Spread one;
  one.dtype = GetParam().dtype;
  if (!alone.contains(one.dtype))
    alone.emplace(one.dtype, train(one, kText));
  const Trained20& wanted = alone.at(one.dtype);
  const Trained20 found = train(GetParam(), kText);
  expect_near_in_bf16(found.whole.gradients, wanted.whole.gradients, GetParam());
  // From the second step on other codes are ternary: one rank in two micro-batches is no nearer to
  // one in one (0.6 % of the loss, 0.7 % of the perplexity).
  for (int64_t step = 0; step < kSteps; ++step)
    EXPECT_NEAR(found.whole.losses[step],
                wanted.whole.losses[step],
                (step == 0 ? 1e-4 : 1e-2) * wanted.whole.losses[step])
        << step;
  EXPECT_NEAR(found.ppl, wanted.ppl, 0.015 * wanted.ppl);
}

INSTANTIATE_TEST_SUITE_P(Matrix,
                         StoriesInBf16,
                         testing::ValuesIn(low_precision_spreads()),
                         low_precision_name);

}  // namespace
}  // namespace sterna::run
