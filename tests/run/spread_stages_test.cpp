// Stages before and beside the step, shared out over ranks that are threads here.
#include <gtest/gtest.h>

#include "quant/packed.h"
#include "tests/run/rank_threads.h"
#include "tests/run/spread_runs.h"
#include "trainer/model/load_parts.h"
#include "trainer/run/blockwise.h"
#include "trainer/run/signals.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

TEST(Together, WhatEachSaysIsKnownToAllInTheOrderOfRanks) {
  const std::vector<std::string> errors = on_ranks(3, [](dist::World& world) {
    const std::vector<std::string> told =
        told_together(world, [&] { return std::string(world.rank(), 'x'); });
    EXPECT_EQ(told, (std::vector<std::string>{"", "x", "xx"}));
  });
  EXPECT_EQ(errors, std::vector<std::string>(3));
}

TEST(Together, ASignalToOneStopsAllBehindTheWork) {
  std::atomic<int> worked = 0;
  const std::vector<std::string> errors = on_ranks(3, [&](dist::World& world) {
    told_together(world, [&]() -> std::string {
      if (world.rank() == 1)
        throw Interrupted("asked to stop");
      ++worked;
      return "done";
    });
  });
  EXPECT_EQ(worked, 2);
  EXPECT_EQ(errors[0], "another rank was asked to stop");
  EXPECT_EQ(errors[1], "asked to stop");
  EXPECT_EQ(errors[2], errors[0]);
}

/// Counts what it is told.
class OneMessage final : public SumOnly {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 2; }
  dist::WorkHandle all_reduce(const std::vector<at::Tensor>&) override { return done(); }
  std::vector<std::string> gather_bytes(const std::string& bytes) override {
    ++messages;
    return {bytes, bytes};
  }
  int messages = 0;
};

TEST(Together, TellsAndMeetsInOneMessage) {
  OneMessage world;
  EXPECT_EQ(told_together(world, [] { return std::string("n"); }),
            (std::vector<std::string>{"n", "n"}));
  EXPECT_EQ(world.messages, 1);
}

struct BlocksOfRank {
  Values gradients;  ///< of the first block's first step
  std::vector<BlockReport> reports;
  Values masters, learned;
};

/// Both blocks on so many ranks, all of which end with the same bits.
BlocksOfRank blocks_on(const std::filesystem::path& folder,
                       int64_t ranks,
                       const BlockwiseConfig& config) {
  Meeting meeting(ranks);
  std::vector<BlocksOfRank> by_rank(ranks);
  on_ranks(meeting, [&](MeetingWorld& world) {
    const auto student = student_of(folder, {}, learned_in_blocks);
    const model::Decoder teacher = model::load_decoder(model::inspect(folder), at::kFloat);
    const Repeated samples;
    Blockwise stage({*student, teacher, samples, world}, config);
    stage.start(0);
    BlocksOfRank& own = by_rank[world.rank()];
    for (int64_t block = 0; block < 2; ++block)
      own.reports.push_back(stage.run([&](int64_t done, int64_t, double) {
        for (Slot* slot : student->of_layer(block))
          if (block == 0 && done == 1 && slot->quantizer)
            own.gradients[slot->name] = slot->grad->clone();
      }));
    for (Slot& slot : student->slots()) {
      own.masters[slot.name] = slot.master.clone();
      if (slot.quantizer)
        for (const auto& [name, tensor] : slot.quantizer->parameters())
          own.learned[slot.name + "." + name] = tensor.clone();
    }
  });
  for (int64_t rank = 1; rank < ranks; ++rank) {
    for (const auto& [name, tensor] : by_rank[0].masters)
      EXPECT_TRUE(at::equal(by_rank[rank].masters.at(name), tensor)) << name;
    for (const auto& [name, tensor] : by_rank[0].learned)
      EXPECT_TRUE(at::equal(by_rank[rank].learned.at(name), tensor)) << name;
    EXPECT_EQ(by_rank[rank].reports[1].error_after, by_rank[0].reports[1].error_after);
  }
  return by_rank.front();
}

TEST(BlockwiseOverRanks, HasTheGradientsAndErrorsOfOneRankWhateverTheyShare) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  BlockwiseConfig config;
  config.samples = 11;  // two batches and one of a single sample
  config.batch = 5;
  config.epochs = 2;
  config.lr = config.lr_quant = 1e-3;
  for (const char* loss : {"mse", "relative"}) {
    config.loss = loss;
    config.input = config.loss == "mse" ? "quantized" : "full";
    const BlocksOfRank one = blocks_on(folder.path(), 1, config);
    EXPECT_EQ(one.gradients.size(), 7u);
    for (const int64_t ranks : {2, 4}) {
      const BlocksOfRank found = blocks_on(folder.path(), ranks, config);
      for (const auto& [name, wanted] : one.gradients)
        EXPECT_LT(apart(found.gradients.at(name), wanted), 1e-6) << loss << ranks << name;
      for (size_t block = 0; block < 2; ++block) {
        const BlockReport& wanted = one.reports[block];
        const BlockReport& report = found.reports[block];
        EXPECT_EQ(report.steps, wanted.steps);
        EXPECT_NEAR(report.error_before,
                    wanted.error_before,
                    (block == 0 ? 1e-6 : 1e-3) * wanted.error_before);
        EXPECT_NEAR(report.error_after, wanted.error_after, 1e-3 * wanted.error_after);
        EXPECT_LT(report.error_after, wanted.error_before);
      }
    }
  }
}

TEST(SharedTeacher, InFewBitsSaysToTheBitWhatAWholeOneSays) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  const model::CheckpointInfo info = model::inspect(folder.path());
  const Inputs inputs(at::arange(24, at::kLong).reshape({2, 12}));
  for (const char* weight : {"{ name = 'minmax_asym', bits = 4, group = 16 }",
                             "{ name = 'minmax_sym', bits = 8 }",
                             "{ name = 'nf', bits = 3 }",
                             "{ name = 'absmean' }"}) {
    auto recipe = recipes::Recipe::parse(std::string("[quant]\nweight = ") + weight, "test");
    const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      model::Decoder whole = model::load_packed_decoder(info, dtype, plan);
      const Tensor expected = hidden_of(whole, inputs);
      Meeting meeting(3);
      on_ranks(meeting, [&](MeetingWorld& world) {
        model::Decoder own = model::load_packed_decoder(info, dtype, plan);
        const auto shards = share_frozen(own, world);
        for (int pass = 0; pass < 2; ++pass)
          EXPECT_TRUE(at::equal(hidden_of(own, inputs), expected)) << weight << pass;
        shards->settle();
        EXPECT_LT(static_cast<double>(shards->bytes()),
                  0.4 * static_cast<double>(model::weight_bytes(whole)))
            << weight;
        shards->hold_all();
        for (size_t i = 0; i < own.linears().size(); ++i)
          EXPECT_TRUE(
              at::equal(dynamic_cast<quant::Packed&>(*own.linears()[i]->adapter).decode(dtype),
                        dynamic_cast<quant::Packed&>(*whole.linears()[i]->adapter).decode(dtype)));
        shards->let_go();
      });
    }
  }
}

struct Ranged {
  std::vector<StepReport> reports;
  Values masters, learned;
};

Ranged ranged_on(const std::filesystem::path& folder,
                 const Spread& spread,
                 const std::string& optimizer_name) {
  Meeting meeting(spread.ranks);
  std::mutex mutex;
  Ranged whole;
  on_ranks(meeting, [&](MeetingWorld& world) {
    auto recipe = recipes::Recipe::parse(
        "[kd]\nrange = [{ match = \"*.down_proj\", weight = 0.5, loss = \"margin\" },"
        " { match = \"*.q_proj\", weight = 0.3, loss = \"soft_min_max\" },"
        " { match = \"*.layers.1.*\", weight = 0.25, loss = \"l_inf\" }]\n",
        "test");
    TrainConfig config = spread.train();
    config.optimizer = optimizer_name;
    config.clip = 0.5;
    const auto student = student_of(folder, {}, ternary_in_blocks);
    const model::Decoder teacher = model::load_decoder(model::inspect(folder), at::kFloat);
    const distill::Objective objective = objective_of("loss = \"tsld\"");
    const Repeated samples(spread.tokens);
    Ranges ranges(RangeRules::read(recipe.section("kd")), *student);
    Optimizer optimizer(config.adam(), config.clip);
    if (spread.dist().shards())
      cut(*student, optimizer, world, ternary_in_blocks, [&](const model::Parameter& parameter) {
        return !ranges.has(parameter.name);
      });
    Sharing sharing(*student, world, spread.dist());
    Step step(
        {*student, &teacher, objective, samples, optimizer, world, nullptr, &ranges, &sharing},
        config);
    std::vector<StepReport> reports;
    for (int64_t i = 0; i < 3; ++i)
      reports.push_back(step.run(i));
    const std::scoped_lock lock(mutex);
    if (!whole.reports.empty()) {
      EXPECT_EQ(whole.reports[2].losses, reports[2].losses) << "ranks report the same";
    }
    whole.reports = reports;
    const std::map<std::string, Tensor> learned = ranges.tensors();
    for (const Slot& slot : student->slots()) {
      put_rows(whole.masters, slot.name, slot.master, slot);
      for (const auto& [name, tensor] : learned)
        if (name.starts_with(slot.name + ".") && !slot.absent())
          whole.learned[name] = tensor.clone();
    }
  });
  return whole;
}

TEST(RangeTermsOverRanks, AreThoseOfWholeMatricesUnderEveryStrategy) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  for (const char* optimizer : {"adamw", "bertadam"}) {
    Spread one;
    one.eps = 1e-2;  // what is almost no gradient moves almost nothing
    const Ranged alone = ranged_on(folder.path(), one, optimizer);
    ASSERT_TRUE(alone.reports[0].outcome.applied);
    EXPECT_EQ(alone.learned.size(), 4u);
    for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"}) {
      Spread spread = one;
      spread.strategy = strategy;
      spread.ranks = 4;
      const Ranged found = ranged_on(folder.path(), spread, optimizer);
      EXPECT_NEAR(found.reports[0].losses.back(), alone.reports[0].losses.back(), 1e-12)
          << strategy;
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(found.reports[i].loss, alone.reports[i].loss, 1e-5 * alone.reports[i].loss)
            << strategy;
        EXPECT_NEAR(found.reports[i].outcome.grad_norm,
                    alone.reports[i].outcome.grad_norm,
                    1e-5 * alone.reports[i].outcome.grad_norm)
            << strategy;
      }
      EXPECT_EQ(found.learned.size(), alone.learned.size());
      for (const auto& [name, wanted] : alone.learned)
        EXPECT_LT(apart(found.learned.at(name), wanted), 1e-6) << strategy << name;
      for (const auto& [name, wanted] : alone.masters)
        EXPECT_LT(apart(found.masters.at(name), wanted), 1e-4) << strategy << name;
    }
  }
}

}  // namespace
}  // namespace sterna::run
