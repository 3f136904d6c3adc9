// The step among ranks: what is summed and when, and that the ranks' number changes nothing.
#include "trainer/run/step.h"

#include <gtest/gtest.h>

#include "tests/run/spread_fixture.h"
#include "tests/run/worlds.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

/// Samples of which each has another number of targets, the third of every four none.
class Uneven final : public Repeated {
 public:
  data::Sample at(int64_t index) const override {
    data::Sample sample = Repeated::at(index);
    for (size_t i = 0; i < sample.loss.size(); ++i)
      sample.loss[i] = index % 4 == 2 ? 0 : static_cast<int64_t>(i) % 4 <= index % 4;
    return sample;
  }
};

TrainConfig six_samples() {
  TrainConfig config;
  config.steps = 10;
  config.batch = 2;
  config.accumulate = 3;
  config.lr = 0.5;
  config.lr_quant = 0.5;
  config.schedule = "constant";
  config.eps = 1.0;  // the update is smooth in the gradient: AdamW's usual eps hides its size
  config.clip = 0.05;
  return config;
}

/// What one rank holds after a step, by name.
struct After {
  StepReport report;
  std::map<std::string, Tensor> values;
};

/// The parts of a step on the model in a folder.
struct OneRank {
  OneRank(const std::filesystem::path& folder,
          const QuantizerOf& quantizer_of,
          const std::string& kd = "loss = \"tsld\"")
      : student(student_of(folder, {}, quantizer_of)),
        teacher(model::load_decoder(model::inspect(folder), at::kFloat)),
        objective(objective_of(kd)) {}

  After run(dist::World& world, int64_t attempt) {
    Step step({*student, &teacher, objective, samples, optimizer, world}, config);
    After after;
    after.report = step.run(attempt);
    after.values = values();
    return after;
  }

  std::map<std::string, Tensor> values() {
    std::map<std::string, Tensor> all;
    for (const Slot& slot : student->slots()) {
      all[slot.name] = slot.master.clone();
      if (slot.quantizer)
        for (const auto& [name, tensor] : slot.quantizer->parameters())
          all[slot.name + "." + name] = tensor.clone();
    }
    return all;
  }

  TrainConfig config = six_samples();
  std::unique_ptr<Student> student;
  model::Decoder teacher;
  distill::Objective objective;
  Uneven samples;
  Optimizer optimizer{config.adam(), config.clip};
};

/// One step on every rank.
std::vector<After> step_on(int64_t ranks, const std::filesystem::path& folder) {
  Meeting meeting(ranks);
  std::vector<After> after(ranks);
  on_ranks(meeting, [&](MeetingWorld& world) {
    after[world.rank()] = OneRank(folder, learned_in_blocks).run(world, /*attempt=*/3);
  });
  return after;
}

TEST(StepShare, CoversEverySampleOnceInSharesThatDifferByOne) {
  TrainConfig config;
  config.batch = 3;
  config.accumulate = 4;
  for (int64_t ranks = 1; ranks <= 14; ++ranks) {
    int64_t next = 7 * 12;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const SampleRange share = share_of_step(7, config, rank, ranks);
      EXPECT_EQ(share.first, next) << rank << " of " << ranks;
      EXPECT_GE(share.count, 12 / ranks);
      EXPECT_LE(share.count, (12 + ranks - 1) / ranks);
      next += share.count;
    }
    EXPECT_EQ(next, 8 * 12) << ranks;
  }
}

TEST(StepAmongRanks, GivesTheUpdateOfOneRankForTheSameGlobalBatch) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  const auto before = OneRank(folder.path(), learned_in_blocks).values();
  const auto world = dist::make_single();
  const After alone = OneRank(folder.path(), learned_in_blocks).run(*world, /*attempt=*/3);
  ASSERT_TRUE(alone.report.outcome.applied);
  EXPECT_GT(alone.report.outcome.grad_norm, six_samples().clip) << "clipping takes part";
  for (const int64_t ranks : {2, 4, 8}) {  // 8: more ranks than samples
    const std::vector<After> all = step_on(ranks, folder.path());
    for (const auto& [name, wanted] : alone.values) {
      const double moved = (wanted - before.at(name)).abs().max().item<double>();
      EXPECT_TRUE(moved > 0 || name.ends_with(".zero")) << name;  // no weight is out of range yet
      const double apart = (all[0].values.at(name) - wanted).abs().max().item<double>();
      EXPECT_LT(apart, 2e-5 * moved + 1e-7) << name << " on " << ranks << " ranks";
      for (int64_t rank = 1; rank < ranks; ++rank)
        EXPECT_TRUE(at::equal(all[rank].values.at(name), all[0].values.at(name)))
            << name << ": rank " << rank << " has another model";
    }
    EXPECT_EQ(all[1].report.tokens, alone.report.tokens);
    EXPECT_NEAR(all[1].report.loss, alone.report.loss, 1e-6 * alone.report.loss);
    EXPECT_NEAR(all[1].report.outcome.grad_norm,
                alone.report.outcome.grad_norm,
                1e-5 * alone.report.outcome.grad_norm);
  }
}

TEST(StepWithIntervention, WhatTheTeacherStandsInForIsNotMovedAndCountsNoUpdate) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  OneRank rank(folder.path(), learned_in_blocks, "intervention = { steps = 2 }");
  rank.config.weight_decay = 0.1;
  const auto world = dist::make_single();
  const auto part = [](const std::string& name) {
    return name.find("self_attn") == std::string::npos &&
           name.find("input_layernorm") == std::string::npos;
  };
  for (int64_t attempt = 0; attempt < 4; ++attempt) {
    const auto before = rank.values();
    const After after = rank.run(*world, attempt);
    ASSERT_TRUE(after.report.outcome.applied);
    for (const auto& [name, value] : after.values) {
      const bool waits = attempt < 2 && !part(name);
      if (!waits && name.ends_with(".zero"))
        continue;  // a zero point moves with weights out of range alone
      EXPECT_EQ(at::equal(value, before.at(name)), waits) << name << " at " << attempt;
    }
  }
  const auto& moments = rank.optimizer.moments();
  EXPECT_EQ(moments.at("model.layers.0.self_attn.q_proj.weight").applied, 2);
  EXPECT_EQ(moments.at("model.layers.0.mlp.up_proj.weight").applied, 4);
}

TEST(StepWithHiddenStates, AnyNumberOfRanksReportsTheSameLosses) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), small_shape());
  const std::string kd = "loss = \"kl\"\nhidden = [{ match = \"*\", weight = 2.0 }]";
  OneRank rank(folder.path(), none, kd);
  // The student is moved away from its teacher, else nothing is to be compared.
  for (Slot& slot : rank.student->slots())
    slot.master.mul_(1.1);
  touch(rank.student->all());
  const auto world = dist::make_single();
  rank.config.lr = rank.config.lr_quant = 0;
  const After together = rank.run(*world, 0);
  ASSERT_EQ(together.report.losses.size(), 2u);
  EXPECT_GT(together.report.losses[1], 0);
  EXPECT_NEAR(together.report.loss,
              together.report.losses[0] + together.report.losses[1],
              1e-9 * together.report.loss);
  // The same samples in smaller micro-batches.
  rank.config.batch = 1;
  rank.config.accumulate = 6;
  const After apart = rank.run(*world, 0);
  EXPECT_NEAR(apart.report.losses[1], together.report.losses[1], 1e-6 * together.report.losses[1]);
}

/// Notes when it is asked for codes and gradients.
class Noting final : public quant::Quantizer {
 public:
  explicit Noting(std::vector<std::string>& events) : events_(events) {}
  void allocate(const Tensor& w) override { inner_->allocate(w); }
  void init(const Tensor& w) override { inner_->init(w); }
  quant::Encoded encode(const Tensor& w) const override {
    events_.push_back("encode");
    return inner_->encode(w);
  }
  quant::Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    events_.push_back("backward");
    return inner_->backward(w, gwq);
  }
  std::vector<quant::NamedTensor> parameters() override { return inner_->parameters(); }
  int64_t max_levels() const override { return inner_->max_levels(); }
  int64_t bits() const override { return inner_->bits(); }
  int64_t group(int64_t k) const override { return inner_->group(k); }

 private:
  std::vector<std::string>& events_;
  std::unique_ptr<Quantizer> inner_ = quant::quantizers().make_default("affine_learned");
};

class RecordedStep : public testing::Test {
 protected:
  RecordedStep() { tests::write_tiny_model(folder_.path(), small_shape()); }

  OneRank rank() {
    OneRank rank(folder_.path(), [this](const model::Parameter& parameter) {
      const bool noted = parameter.name == "model.layers.1.mlp.up_proj.weight";
      return noted ? std::make_unique<Noting>(events_) : nullptr;
    });
    touch(rank.student->all());
    events_.clear();
    return rank;
  }

  const tests::TempFolder folder_;
  std::vector<std::string> events_;
  RecordingWorld world_{events_};
};

TEST_F(RecordedStep, SumsCountsBeforeTheForwardPassAndGradientsBeforeTheQuantizersBackward) {
  OneRank one = rank();
  int64_t weights = 0;
  for (const Slot& slot : one.student->slots())
    weights += slot.master.numel();
  const std::string bucket = "sum " + std::to_string(weights);
  one.run(world_, 0);
  // tsld has two terms: two counts and the tokens, two losses and the wish to stop, the verdict.
  EXPECT_EQ(events_,
            (std::vector<std::string>{"sum 3", "encode", bucket, "sum 3", "backward", "sum 1"}));
}

TEST_F(RecordedStep, IsSkippedWhereAnotherRankFoundNaN) {
  OneRank one = rank();
  const auto before = one.values();
  world_.others = [](int64_t call, const std::vector<Tensor>& tensors) {
    if (call == 3)
      tensors[0].add_(1);
  };
  const After after = one.run(world_, 0);
  EXPECT_FALSE(after.report.outcome.applied);
  EXPECT_NE(after.report.outcome.bad_tensor.find("another rank"), std::string::npos);
  EXPECT_EQ(one.optimizer.applied(), 0);
  for (const auto& [name, value] : before)
    EXPECT_TRUE(at::equal(after.values.at(name), value)) << name;
}

TEST_F(RecordedStep, IsDroppedWhereAnotherRankWasAskedToStop) {
  OneRank one = rank();
  const auto before = one.values();
  world_.others = [](int64_t call, const std::vector<Tensor>& tensors) {
    if (call == 2)
      tensors[0].narrow(0, 2, 1).add_(1);
  };
  EXPECT_THROW(one.run(world_, 0), Interrupted);
  for (const auto& [name, value] : one.values())
    EXPECT_TRUE(at::equal(before.at(name), value)) << name;
}

}  // namespace
}  // namespace sterna::run
