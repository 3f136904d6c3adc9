// Memory by hand, and what helps where it is too much.
#include "tests/plan/planning_fixture.h"

namespace sterna::plan {
namespace {

using tests::Planning;

// Llama 7B: 32 blocks of 4 x 4096^2 + 3 x 4096 x 11008, twice 32000 x 4096, 65 norms of 4096.
constexpr double kMatrices = 32 * (4.0 * 4096 * 4096 + 3.0 * 4096 * 11008) + 2 * 32000.0 * 4096;
constexpr double kVectors = 65 * 4096.0;
constexpr double kAll = kMatrices + kVectors;

const std::string kSevenAndSeven = R"(
[model]
dtype = "bf16"
[teacher]
dtype = "bf16"
[kd]
loss = "kl"
[quant]
weight = "twn"
[train]
steps = 10
seq_len = 2048
batch = 8
accumulate = 8
recompute = true
)";

TEST_F(Planning, StateOfSevenBillionParametersIsThatOfTheFormulas) {
  const Workload work = work_of(kSevenAndSeven);
  EXPECT_EQ(sum_of(work.parts).matrices, kMatrices);
  EXPECT_EQ(sum_of(work.parts).vectors, kVectors);
  EXPECT_EQ(sum_of(work.parts).moved, kAll);
  EXPECT_NEAR(kAll, 6.74e9, 0.01e9);
  const double weights = 2 * kMatrices + 4 * kVectors;
  // Bytes of weights, masters, gradients, moments: of the first whole, of the others by the stage.
  const auto expect = [&](const std::string& strategy, double masters, double gradients, double w) {
    Workload now = work;
    now.settings.dist.strategy = strategy;
    const MemoryEstimate m = estimate_memory(now, share_among(now, 8), 0);
    EXPECT_DOUBLE_EQ(m.masters, 4 * kAll * masters) << strategy;
    EXPECT_DOUBLE_EQ(m.moments, 8 * kAll * masters) << strategy;
    EXPECT_DOUBLE_EQ(m.gradients, 4 * kAll * gradients) << strategy;
    EXPECT_DOUBLE_EQ(m.compute, weights * w) << strategy;
    EXPECT_DOUBLE_EQ(m.teacher, weights) << strategy;
    return m.masters + m.moments + m.gradients + m.compute + m.teacher;
  };
  // The published formulas (2 + 2 + 12 bytes, bf16 gradients) give 121, 50.5, 38.8 GB; ours gathers
  // gradients in fp32: 2 bytes more of each parameter, whole or shared.
  EXPECT_NEAR(expect("ddp", 1, 1, 1), 121.3e9 + 2 * kAll, 0.1e9);
  EXPECT_NEAR(expect("zero1", 1. / 8, 1, 1), 50.5e9 + 2 * kAll, 0.1e9);
  EXPECT_NEAR(expect("zero2", 1. / 8, 1. / 8, 1), 38.8e9 + 2 * kAll / 8, 0.1e9);
  EXPECT_NEAR(expect("zero3", 1. / 8, 1. / 8, 1. / 8), 13.5e9 + 13.5e9 + 2 * kAll / 8, 0.1e9);
}

TEST_F(Planning, ActivationsAndBuffersAreThoseByHand) {
  Workload work = work_of(kSevenAndSeven);
  work.settings.train.device = "cuda";
  work.settings.dist.strategy = "zero3";
  work.settings.dist.teacher = "sharded";
  const MemoryEstimate m = estimate_memory(work, share_among(work, 8), 0);
  const double tokens = 8 * 2048.0;
  // Recomputed: the input of each of 32 blocks, what the final norm reads and gives, its gradient,
  // and the teacher's last hidden state, in bf16. The spec's 2 s h L is the first of these.
  EXPECT_DOUBLE_EQ(m.activations, tokens * 2 * 4096 * (32 + 1 + 2 + 1));
  // The block that is run again keeps 4 D + 4 H d + 3 I in bf16 and two norms' and 32 heads' sums.
  const double block = 2 * (4 * 4096.0 + 4 * 4096.0 + 3 * 11008.0) + 4 * (32 + 2);
  EXPECT_DOUBLE_EQ(m.working,
                   tokens * (block + 2 * (2 * 4096.0 + 2 * 11008.0)) + 2 * 4096.0 * 11008);
  // 512 tokens of two models' logits, eight fp32 tensors of what a device makes of them, and 8192
  // rows of the head's gradient.
  EXPECT_DOUBLE_EQ(m.loss, 512 * 32000.0 * (4 + 8 * 4) + 8192 * 4096.0 * 2);
  // Two neighbouring blocks' weights with their gradients; of the teacher the weights.
  const double linear = 4.0 * 4096 * 4096 + 3.0 * 4096 * 11008;
  const double of_block = 2 * linear + 4 * 2 * 4096;
  EXPECT_DOUBLE_EQ(m.buffers, 2 * (of_block + 4 * (linear + 2 * 4096)) + 2 * of_block);

  EXPECT_DOUBLE_EQ(m.total(),
                   m.masters + m.moments + m.gradients + m.compute + m.teacher + m.buffers +
                       m.activations + m.working);

  work.settings.dist.strategy = "zero2";
  work.settings.dist.teacher = "replicated";
  work.settings.dist.reduce_dtype = "bf16";
  EXPECT_DOUBLE_EQ(estimate_memory(work, share_among(work, 8), 0).buffers,
                   (4 + 2) * (linear + 2 * 4096));
  work.settings.dist.strategy = "zero1";
  EXPECT_DOUBLE_EQ(estimate_memory(work, share_among(work, 8), 0).buffers, 2 * of_block);
  work.settings.train.device = "cpu";  // Gloo gathers both into copies
  EXPECT_DOUBLE_EQ(estimate_memory(work, share_among(work, 8), 0).buffers, 4 * of_block);
  work.settings.dist.strategy = "ddp";
  EXPECT_DOUBLE_EQ(estimate_memory(work, share_among(work, 8), 0).buffers, 2 * kAll);
  EXPECT_EQ(estimate_memory(work, share_among(work, 1), 0).buffers, 0);
  EXPECT_DOUBLE_EQ(checkpoint_bytes(work), 12 * kAll);
}

TEST_F(Planning, WhatIsTooMuchIsMadeToFitByTrying) {
  Workload work = work_of(kSevenAndSeven);
  work.settings.train.device = "cuda";
  const Machine machine;
  EXPECT_GT(planned(work, 8, machine).memory.total(), memory_of(machine));
  const std::vector<Remedy> single = single_remedies(work, 8, machine);
  std::map<std::string, double> by_change;
  for (const Remedy& remedy : single)
    by_change[remedy.changes.front()] = remedy.planned.memory.total();
  for (const char* change : {"dist.strategy=zero1",
                             "dist.strategy=zero2",
                             "dist.strategy=zero3",
                             "dist.teacher=sharded",
                             "train.batch=4 train.accumulate=16",
                             "teacher.quant.weight={name=\"minmax_sym\",bits=8}",
                             "memory.offload=activations",
                             "memory.offload=optimizer"}) {
    ASSERT_TRUE(by_change.contains(change)) << change;
    EXPECT_LT(by_change[change], planned(work, 8, machine).memory.total()) << change;
  }
  EXPECT_LT(by_change["dist.strategy=zero2"], by_change["dist.strategy=zero1"]);

  const Remedy together = remedies_until_it_fits(work, 8, machine);
  EXPECT_LE(together.planned.memory.total(), memory_of(machine));
  EXPECT_EQ(together.changes, (std::vector<std::string>{"dist.strategy=zero1"}));

  // A teacher can be shared out and packed.
  Workload both = work;
  both.settings.dist.teacher = "sharded";
  const double whole = planned(both, 8, machine).memory.teacher;
  int packed = 0;
  for (const Remedy& remedy : single_remedies(both, 8, machine))
    if (remedy.changes.front().starts_with("teacher.quant")) {
      EXPECT_LT(remedy.planned.memory.teacher, 0.6 * whole);
      ++packed;
    }
  EXPECT_EQ(packed, 1);

  Machine small = machine;
  small.memory_gib = 1;
  EXPECT_GT(remedies_until_it_fits(work, 8, small).planned.memory.total(), memory_of(small));
}

TEST_F(Planning, WhatIsOffloadedLiesInHostMemoryByHand) {
  Workload work = work_of(kSevenAndSeven + "ema = 0.9\n");
  work.settings.train.device = "cuda";
  work.settings.memory.offload = "optimizer";
  const auto memory = [&](const std::string& strategy) {
    work.settings.dist.strategy = strategy;
    return estimate_memory(work, share_among(work, 8), 0);
  };
  // Of gradients ddp's and zero1's whole sums stay on the device; own rows come down.
  for (const auto& [strategy, here, host] : {std::tuple("ddp", 4.0, 4.0),
                                             std::tuple("zero1", 4.0, 0.5),
                                             std::tuple("zero2", 0.0, 0.5),
                                             std::tuple("zero3", 0.0, 0.5)}) {
    const MemoryEstimate m = memory(strategy);
    const double own = strategy == std::string("ddp") ? kAll : kAll / 8;
    EXPECT_EQ(m.masters + m.moments + m.average + m.quantizers + m.update, 0) << strategy;
    EXPECT_DOUBLE_EQ(m.gradients, here * kAll) << strategy;
    EXPECT_DOUBLE_EQ(m.host.gradients, host * kAll) << strategy;
    EXPECT_DOUBLE_EQ(m.host.masters, 4 * own) << strategy;
    EXPECT_DOUBLE_EQ(m.host.moments, 8 * own) << strategy;
    EXPECT_DOUBLE_EQ(m.host.average, 4 * own) << strategy;
    EXPECT_DOUBLE_EQ(m.host.total(),
                     m.host.masters + m.host.moments + m.host.average + m.host.gradients);
  }
  work.settings.memory.offload = "";
  const MemoryEstimate all = memory("zero1");
  EXPECT_EQ(all.host.total(), 0);
  // AdamW there takes two tensors of the largest parameter's rows, when activations are gone.
  EXPECT_DOUBLE_EQ(all.update, 2 * 4 * 32000.0 * 4096 / 8);
  work.settings.train.device = "cpu";
  work.settings.memory.offload = "optimizer";
  const MemoryEstimate cpu = memory("zero1");
  EXPECT_EQ(cpu.host.total(), 0) << "masters are in host memory anyway";
  EXPECT_DOUBLE_EQ(cpu.masters, 4 * kAll / 8);
}

TEST_F(Planning, WhatQuantizersLearnIsInHostMemoryBesideADevice) {
  Workload work = work_of(
      "[quant]\nweight = {name = 'affine_learned', group = 64}\n[train]\nsteps = 1\nseq_len = "
      "8\n");
  const double learned = sum_of(work.parts).learned;
  EXPECT_DOUBLE_EQ(learned, 2 * sum_of(work.parts).quantized / 64) << "scales and zero points";
  const MemoryEstimate here = estimate_memory(work, share_among(work, 1), 0);
  work.settings.train.device = "cuda";
  const MemoryEstimate there = estimate_memory(work, share_among(work, 1), 0);
  EXPECT_EQ(there.quantizers, 0);
  EXPECT_EQ(there.host.quantizers, here.quantizers);
  EXPECT_DOUBLE_EQ(there.host.moments, 8 * learned);
  EXPECT_DOUBLE_EQ(there.moments, here.moments - 8 * learned);
}

TEST_F(Planning, WhatFitsOnlyWithMastersAndMomentsInHostMemoryIsToldSo) {
  Workload work = work_of(kSevenAndSeven);
  work.settings.train.device = "cuda";
  Machine machine;
  ASSERT_FALSE(has_room(planned(work, 1, machine), machine));
  // Everything else together is not enough on one GPU, and none of it is said beside what is.
  const Remedy remedy = remedies_until_it_fits(work, 1, machine);
  EXPECT_EQ(remedy.changes, (std::vector<std::string>{"memory.offload=optimizer"}));
  EXPECT_TRUE(has_room(remedy.planned, machine));
  const MemoryEstimate& m = remedy.planned.memory;
  const double weights = 2 * kMatrices + 4 * kVectors;
  EXPECT_DOUBLE_EQ(m.total(),
                   2 * weights + 4 * kAll + m.activations + std::max(m.working, m.loss) + 2 * kGiB);
  EXPECT_DOUBLE_EQ(m.host.total() - m.host.copy, 16 * kAll);
  // It costs AdamW over host memory: 28 bytes a weight at 40 GB/s in place of 3,000, and the
  // weights' rounding there.
  const ScalePoint& point = remedy.planned.scale;
  EXPECT_GT(point.time.optimizer, 28 * kAll / 40e9);
  EXPECT_GT(point.step(), planned(work, 1, machine).scale.step());
  // Where the host has no room either nothing is enough.
  machine.host_gib = 20;
  EXPECT_FALSE(has_room(remedies_until_it_fits(work, 1, machine).planned, machine));
  // A CPU has no other memory: nothing is offered there.
  work.settings.train.device = "cpu";
  for (const Remedy& each : single_remedies(work, 1, machine))
    EXPECT_EQ(each.changes.front().find("offload"), std::string::npos) << each.changes.front();
}

TEST_F(Planning, SamplesThatDoNotDivideAreRefusedWithTheNextNumber) {
  const Workload work = work_of(kSevenAndSeven);
  Workload partial = work;
  partial.settings.train.batch = 4;
  partial.settings.train.accumulate = 3;  // 6 a rank: a full micro-batch and half of one
  EXPECT_THROW(share_among(partial, 2), recipes::UserError);
  EXPECT_EQ(share_among(partial, 3).rows, 4);
  EXPECT_EQ(share_among(work, 32).samples, 2);
  EXPECT_EQ(share_among(work, 32).rows, 2);
  EXPECT_EQ(share_among(work, 2).micro_batches(), 4);
  try {
    share_among(work, 24);
    FAIL();
  } catch (const recipes::UserError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("8 samples x train.accumulate = 8"), std::string::npos) << text;
    EXPECT_NE(text.find("take train.accumulate=6 or 9"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace sterna::plan
