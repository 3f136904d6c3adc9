// Ranks that hold shares of a model load no more than these, and evaluate it without being given
// the rest.
#include <gtest/gtest.h>

#include "tests/run/spread_runs.h"
#include "tests/run/worlds.h"
#include "tests/support/memory.h"
#include "tests/support/recipe_on.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/load_shares.h"

namespace sterna::run {
namespace {

/// The third of four ranks, of whom nothing is heard.
class ThirdOfFour final : public SumOnly {
 public:
  int64_t rank() const override { return 2; }
  int64_t size() const override { return 4; }
  dist::WorkHandle all_reduce(const std::vector<at::Tensor>&) override { return done(); }
};

class LoadedShares : public testing::Test {
 protected:
  static constexpr int64_t kParameters = 16 * (2 * 384 * 384 + 2 * 192 * 384 + 3 * 768 * 384);

  void SetUp() override {
    tests::TinyModel shape;
    shape.width = 384;
    shape.inner = 768;
    shape.layers = 16;
    tests::write_tiny_model(folder_.path() / "model", shape);
    tests::write_text_file(folder_.path() / "text.txt", tests::tiny_text(100));
  }

  /// A session whose models are not loaded.
  Session open(const std::string& more) const {
    recipes::Recipe recipe =
        tests::recipe_on(folder_.path(), "[train]\nsteps=1\nseq_len=16\n" + more);
    return open_session(recipe);
  }

  const tests::TempFolder folder_;
};

constexpr const char* kAllShared =
    "[kd]\nloss='kl'\n[quant]\nweight='lsq'\n[[quant.rule]]\nmatch='*.mlp.*'\nweight='twn'\n"
    "[dist]\nstrategy='zero3'\nteacher='sharded'\n";

TEST_F(LoadedShares, AreTheRowsThatACutLeaves) {
  Session whole = open(kAllShared);
  whole.settings.dist = {};
  load_models(whole);
  Optimizer optimizer({}, 0);
  const quant::Plan plan = whole.plan.at(0);
  ThirdOfFour world;
  whole.student->init_quantizers();
  cut(
      *whole.student,
      optimizer,
      world,
      [&](const model::Parameter& p) { return model::build_quantizer(plan, p); },
      cuts_by_row(whole.plan, 0));

  Session own = open(kAllShared);
  own.world = std::make_shared<ThirdOfFour>();
  load_models(own);
  own.student->init_quantizers();
  int64_t absent = 0;
  for (const Slot& slot : own.student->slots()) {
    const Slot& wanted = *whole.student->find(slot.name);
    EXPECT_TRUE(at::equal(slot.master, wanted.master)) << slot.name;
    EXPECT_EQ(slot.rows.begin, wanted.rows.begin) << slot.name;
    EXPECT_EQ(slot.value->sizes(), wanted.value->sizes()) << slot.name;
    absent += slot.absent() ? 1 : 0;
    ASSERT_EQ(slot.quantizer == nullptr, wanted.quantizer == nullptr) << slot.name;
    if (!slot.quantizer || slot.absent())
      continue;
    const auto learned = slot.quantizer->parameters();
    for (size_t i = 0; i < learned.size(); ++i)
      EXPECT_TRUE(at::equal(learned[i].tensor, wanted.quantizer->parameters()[i].tensor))
          << slot.name;
  }
  EXPECT_GT(absent, 0) << "matrices of lsq have one owner each";
  for (const model::Parameter& p : own.teacher->parameters()) {
    const Tensor& rows = own.teacher_shards->own_rows(p.value);
    const Tensor& wanted = *whole.student->find(p.name)->value;  // not rounded yet: its shape
    EXPECT_EQ(rows.size(0), share_rows(wanted.size(0), 4)[2].count()) << p.name;
  }
}

TEST_F(LoadedShares, TakeNoMoreMemoryThanTheyAreAndOneMatrix) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "no peak of memory can be measured here (clear_refs, AddressSanitizer)";
  const auto loaded = [&](Session session) {
    session.world = std::make_shared<ThirdOfFour>();
    const tests::PeakMemory peak;
    load_models(session);
    return static_cast<double>(peak.bytes());
  };
  const std::string unquantized = "[kd]\nloss='kl'\n[dist]\nstrategy='zero3'\nteacher='sharded'\n";
  loaded(open(unquantized));  // code that is used for the first time is memory too
  const double all = 4.0 * kParameters;
  const double matrix = 4.0 * 768 * 384;
  // Masters and teacher; of the student's compute weights there is nothing yet.
  // The margin is for what the heap and the kernel's pages hold beside it (14 MB seen).
  EXPECT_LT(loaded(open(unquantized)), 2 * all / 4 + 2 * matrix + 0.25 * all);
  Session replicated = open(unquantized);
  replicated.settings.dist = {};
  EXPECT_GT(loaded(std::move(replicated)), 1.8 * all);
}

TEST(EvaluatedShares, AreMeasuredInStepAndNeverWhole) {
  const tests::TempFolder folder;
  tests::TinyModel shape = small_shape(/*tied=*/true);
  shape.layers = 16;
  tests::write_tiny_model(folder.path(), shape);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 100; ++i)
    ids.push_back(i * i % 251);
  eval::EvalOptions options;
  options.window = 14;  // seven windows in four batches: of three ranks one measures twice
  options.batch = 2;
  const auto world = dist::make_single();
  SpreadRank alone(folder.path(), *world, {});
  alone.student->materialize();
  const eval::EvalResult wanted =
      eval::evaluate(alone.student->decoder(), ids, options, &alone.teacher);
  ASSERT_GT(wanted.divergence->mean, 0);
  Meeting meeting(3);
  on_ranks(meeting, [&](MeetingWorld& three) {
    SpreadRank rank(folder.path(), three, {"zero3", 3, 1, true});
    double most = 0;
    three.watch = [&] {
      most = std::max(
          most,
          static_cast<double>(rank.sharing->weights()->bytes() + rank.sharing->teacher()->bytes()));
    };
    rank.student->materialize();
    {
      const HeadsAtHand heads(rank.sharing.get());
      eval::EvalOptions own = options;
      own.share = in_step(three);
      const eval::EvalResult found =
          eval::evaluate(rank.student->decoder(), ids, own, &rank.teacher);
      EXPECT_EQ(found.nll, wanted.nll);
      EXPECT_EQ(found.divergence->mean, wanted.divergence->mean);
    }
    three.watch = {};
    double all = 0, head = 0, block = 0;
    for (const Slot& slot : rank.student->slots()) {
      const auto bytes = 4.0 * static_cast<double>(slot.value->numel());
      all += bytes;
      head += slot.layer < 0 ? bytes : 0;
      block += slot.layer == 0 ? bytes : 0;
    }
    EXPECT_LT(most, 1.1 * 2 * (all / 3 + head + 2 * block));
    EXPECT_GT(2 * all, 1.2 * most) << "two whole models are more";
    rank.run(0);  // and begins to train
  });
}

}  // namespace
}  // namespace sterna::run
