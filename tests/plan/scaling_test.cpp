// Collectives, the replayed step and the scale model: by hand, and against published runs.
#include "trainer/plan/scaling.h"

#include <cmath>

#include "tests/plan/planning_fixture.h"

namespace sterna::plan {
namespace {

using tests::Planning;

TEST(Network, CollectivesCostWhatLatencyAndBandwidthSay) {
  Machine m;  // 370 GB/s and 4 us within 8, 46 GB/s and 12 us between
  EXPECT_DOUBLE_EQ(bytes_sent(Collective::kAllReduce, 800, 8), 1400);
  EXPECT_DOUBLE_EQ(bytes_sent(Collective::kAllGather, 800, 8), 700);
  EXPECT_EQ(seconds_of(Collective::kAllReduce, 1e9, 1, m), 0);
  const double ring = 7.0 / 8 * 13.5e9 / 370e9 + 7 * 4e-6;
  EXPECT_DOUBLE_EQ(seconds_of(Collective::kAllGather, 13.5e9, 8, m), ring);
  // Spec: gradients of 13.5 GB over eight H100 take 64 ms.
  EXPECT_NEAR(seconds_of(Collective::kAllReduce, 13.5e9, 8, m), 0.064, 0.001);
  // Two nodes, much data: eight rings, whose ways out give 368 GB/s together.
  const double two = 15.0 / 16 * 1e10 / 368e9 + (14 * 4 + 12) * 1e-6;
  EXPECT_DOUBLE_EQ(seconds_of(Collective::kReduceScatter, 1e10, 16, m), two);
  // 128 nodes, little data: 127 hops between nodes and 7 within, not 1,023.
  const double little =
      127.0 / 128 * 1e3 / 8 / 46e9 + 7.0 / 8 * 1e3 / 370e9 + 127 * 12e-6 + 7 * 4e-6;
  EXPECT_DOUBLE_EQ(seconds_of(Collective::kAllGather, 1e3, 1024, m), little);
}

TEST(Scaling, TheSlowestRankIsTheMeanOfTheLargest) {
  EXPECT_NEAR(slowest_of(1, 0.03), 1, 1e-9);
  // Of two there is a closed form: 2 Phi(sigma / sqrt 2).
  EXPECT_NEAR(slowest_of(2, 0.03), std::erfc(-0.03 / 2), 1e-9);
  EXPECT_NEAR(slowest_of(1024, 0.01), 1.032, 1e-3);
  EXPECT_NEAR(slowest_of(1024, 0.03), 1.10, 3e-3);
  EXPECT_NEAR(slowest_of(1024, 0), 1, 1e-9);
}

TEST(Scaling, CheckpointsComeWhenDalySays) {
  // Spec: 30 s and a failure every 49 h give an interval of 54 min and 1.9 % overhead.
  EXPECT_NEAR(daly_interval(30, 49 * 3600) / 60, 54, 0.5);
  Machine m;
  m.mtbf_hours = 49 * 1024;
  m.restart_minutes = 0;
  const Failures f = failures_of(30 * 128 * m.storage_gbs * 1e9, 1024, m);
  EXPECT_DOUBLE_EQ(f.checkpoint, 30);
  EXPECT_DOUBLE_EQ(f.between, 49 * 3600);
  EXPECT_NEAR(f.lost, 0.019, 0.001);
  EXPECT_EQ(daly_interval(100, 40), 40);
}

/// Four equal blocks, nothing else to speak of; a network of 1 GB/s without latency.
class Replayed : public Planning {
 protected:
  Workload four_blocks(const std::string& strategy) {
    Workload work = work_of(
        "[model]\ndtype='bf16'\n[train]\nsteps=1\nseq_len=64\nbatch=1\naccumulate=4\n[dist]\n"
        "strategy='" +
            strategy + "'\n",
        {/*vocab=*/2, 256, 1024, 4, 4, 4});
    block_ = work.parts[2].matrices + work.parts[2].vectors;
    work.settings.dist.bucket_mib = 4 * block_ / kMiB;
    machine_.intra_gbs = 1;
    machine_.intra_us = 0;
    machine_.memory_gbs = 1e9;
    return work;
  }

  StepTime time(const Workload& work, int64_t ranks) {
    return step_time(work, share_among(work, ranks), machine_);
  }

  Machine machine_;
  double block_ = 0;
};

TEST_F(Replayed, BytesAreThoseOfTheFormulas) {
  Workload work = four_blocks("ddp");
  const PartSize all = sum_of(work.parts);
  const double elements = all.matrices + all.vectors;
  const double weights = 2 * all.matrices + 4 * all.vectors;
  EXPECT_DOUBLE_EQ(time(work, 4).sent, 2 * 3.0 / 4 * elements * 4);
  EXPECT_DOUBLE_EQ(time(work, 2).sent, 2 * 1.0 / 2 * elements * 4);  // two micro-batches, one sum
  work.settings.dist.reduce_dtype = "bf16";
  EXPECT_DOUBLE_EQ(time(work, 4).sent, 2 * 3.0 / 4 * elements * 2);
  EXPECT_EQ(time(work, 1).sent, 0);

  work = four_blocks("zero1");
  EXPECT_DOUBLE_EQ(time(work, 2).sent, 1.0 / 2 * (4 * elements + weights));
  work = four_blocks("zero2");
  EXPECT_DOUBLE_EQ(time(work, 2).sent, 1.0 / 2 * (2 * 4 * elements + weights));
  work = four_blocks("zero3");
  EXPECT_DOUBLE_EQ(time(work, 2).sent, 1.0 / 2 * 2 * (4 * elements + 2 * weights));
}

TEST_F(Replayed, ASlowNetworkIsExposedButForWhatBackwardHides) {
  const Workload work = four_blocks("ddp");
  // A block's all-reduce takes 2 x 3/4 x 4 bytes of each element at 1 GB/s.
  const double reduce = 6 * block_ / 1e9;
  // Computing takes nothing: all of it is seen.
  machine_.peak_tflops = 1e9;
  EXPECT_NEAR(time(work, 4).exposed / (4 * reduce), 1, 0.01);
  // A block's backward pass as long as its all-reduce: the first hides nothing, the last three are
  // hidden one behind the other, and one is left at the end.
  const double flops = 2 * 2 * 64 * run::step_flops(work.student, nullptr, 64).student / 6 / 4;
  machine_.mfu = 1;
  machine_.peak_tflops = flops / reduce / 1e12;
  EXPECT_NEAR(time(work, 4).exposed / reduce, 1, 0.05);
  // Ten times as long: what is left is the last block's.
  machine_.peak_tflops /= 10;
  EXPECT_NEAR(time(work, 4).exposed / reduce, 1, 0.05);
  EXPECT_NEAR(time(work, 4).student / reduce, 60, 0.5);
}

TEST_F(Replayed, BlocksThatStayCostNoGradientOfTheirWeights) {
  Workload work = four_blocks("ddp");
  const double whole = time(work, 1).student;
  for (size_t block = 1; block <= 2; ++block)
    work.parts[block].trained = 0;
  // Of three passes in each of four blocks, one is left out in two.
  EXPECT_NEAR(time(work, 1).student / whole, 10.0 / 12, 1e-3);
  work.settings.train.recompute = true;
  EXPECT_NEAR(time(work, 1).student / whole, 14.0 / 12, 1e-3);
}

TEST_F(Replayed, Zero3HidesAllButTheFirstGathersAndTheLastSum) {
  const Workload work = four_blocks("zero3");
  machine_.peak_tflops = 1e-3;
  const StepTime slow = time(work, 4);
  // Embedding and head hide nothing, so a block's weights (2 bytes) are waited for on the way there
  // and on the way back, and a block's gradients (4 bytes) at the end: 8 of 4 x (2 + 2 + 4).
  EXPECT_NEAR(slow.exposed / slow.network, 8.0 / 32, 0.02);
  machine_.peak_tflops = 1e9;
  const StepTime fast = time(work, 4);
  EXPECT_NEAR(fast.exposed / fast.network, 1, 0.01);
}

TEST_F(Replayed, GradientsComeDownBesideBackwardAndWeightsGoUp) {
  Workload work = four_blocks("ddp");
  work.settings.train.device = "cuda";
  const StepTime none = time(work, 1);
  EXPECT_EQ(none.copied, 0);
  work.settings.memory.offload = "optimizer";
  machine_.pcie_gbs = 1;
  machine_.host_gbs = 1e9;
  const PartSize all = sum_of(work.parts);
  machine_.peak_tflops = 1e9;
  const StepTime bare = time(work, 1);
  EXPECT_DOUBLE_EQ(bare.copied, (4 + 2) * all.trained) << "fp32 down, bf16 up, once a step";
  EXPECT_NEAR(bare.uncovered / bare.copies, 1, 1e-3);
  // Behind a long way back: the last bucket, and the weights.
  machine_.peak_tflops = 1e-3;
  const StepTime hidden = time(work, 1);
  EXPECT_NEAR(hidden.uncovered * 1e9 / block_, 4 + 4 * 2, 0.3);
  // Sharded: own rows, which nothing hides, in each of zero2's micro-batches.
  work.settings.dist.strategy = "zero2";
  EXPECT_DOUBLE_EQ(time(work, 2).copied, (2 * 4 + 2) * all.trained / 2);
  EXPECT_NEAR(time(work, 2).uncovered / time(work, 2).copies, 1, 1e-3);
  // The optimizer runs over host memory.
  machine_.host_gbs = 1;
  EXPECT_NEAR(time(work, 2).optimizer, (28 + 4 + 2) * all.moved / 2 / 1e9, 1e-9);
}

TEST_F(Replayed, InputsOfBlocksTravelWhileBlocksCompute) {
  Workload work = four_blocks("ddp");
  work.settings.train.device = "cuda";
  work.settings.train.recompute = true;
  work.settings.memory.offload = "activations";
  machine_.pcie_gbs = 1;
  machine_.peak_tflops = 1e9;
  const StepTime bare = time(work, 1);
  // Four micro-batches; four inputs go, and all but the last block's come back.
  EXPECT_DOUBLE_EQ(bare.copied, 4 * (4 + 3) * 64 * 256.0 * 2);
  EXPECT_NEAR(bare.uncovered / bare.copies, 1, 0.2);
  machine_.peak_tflops = 1e-3;
  EXPECT_LT(time(work, 1).uncovered, 1e-9);
}

TEST_F(Replayed, QuantizersBesideADeviceBringMastersAndGradientsDown) {
  Workload work = four_blocks("ddp");
  for (PartSize& part : work.parts)
    part.quantized = part.trained;
  const PartSize all = sum_of(work.parts);
  work.settings.train.device = "cuda";
  machine_.host_gbs = 1;
  const StepTime there = time(work, 1);
  EXPECT_DOUBLE_EQ(there.copied, (3 * 4 + 2) * all.trained);
  EXPECT_NEAR(there.optimizer, (16 + 2) * all.quantized / 1e9, 1e-6);
}

/// torchtitan's published runs of Llama 3.1 8B: FSDP, two samples of 8,192 tokens a GPU.
struct Published {
  const char* what;
  const char* gpu;
  int64_t from;
  double rate_from;  ///< tokens/s of a GPU
  int64_t to;
  double rate_to;
};

TEST_F(Planning, WeakScalingIsWithinTwoPercentOfPublishedRuns) {
  tests::TinyModel shape{128256, 4096, 14336, 32, 32, 8};
  shape.positions = 131072;
  Workload work = work_of(
      "[model]\ndtype='bf16'\n[train]\nsteps=1\nseq_len=8192\nbatch=2\n[dist]\nstrategy='zero3'\n",
      shape);
  EXPECT_NEAR(static_cast<double>(work.student.parameters()), 8.03e9, 0.01e9);
  const double flops = run::step_flops(work.student, nullptr, 8192).student;
  // Nothing is fitted: the machines are those of `sterna plan`, and of each run only its rate on
  // the smaller number of GPUs is known.
  for (const Published& run : {Published{"bf16", "h100", 8, 5762, 128, 5605},
                               Published{"compiled", "h100", 8, 6667, 128, 6514},
                               Published{"float8", "h100", 8, 8532, 128, 8380},
                               Published{"float8, H200", "h200", 32, 10938, 64, 10753}}) {
    recipes::Recipe recipe =
        recipes::Recipe::parse(std::string("machine.like = '") + run.gpu + "'", "test");
    Machine machine = read_machine(recipe.section("machine"));
    machine.mfu = run.rate_from * flops / (machine.peak_tflops * 1e12);
    const auto step_of = [&](int64_t ranks) {
      return scale_point(work, {ranks, 2, 2}, machine).step();
    };
    const double expected = run.rate_to / run.rate_from;
    const double computed = step_of(run.from) / step_of(run.to);
    std::printf(
        "%s: published %.1f %%, computed %.1f %%\n", run.what, 100 * expected, 100 * computed);
    EXPECT_NEAR(computed, expected, 0.02) << run.what;
    EXPECT_LT(computed, 1) << run.what;
    // And the rate itself: a step that computes at the given share of the peak is not much slower.
    EXPECT_NEAR(2 * 8192 / step_of(run.from) / run.rate_from, 1, 0.06) << run.what;
  }
}

TEST_F(Planning, OneThousandGpusKeepNinetyFivePercentOfEight) {
  Workload work = work_of(
      "[model]\ndtype='bf16'\n[teacher]\ndtype='bf16'\n[kd]\nloss='kl'\n[quant]\nweight='twn'\n"
      "[train]\nsteps=1\nseq_len=2048\nbatch=8\n[dist]\nstrategy='zero2'\nreduce_dtype='bf16'\n");
  const std::vector<ScalePoint> points = weak_scaling(work, {8, 8, 8}, 1024, Machine());
  ASSERT_EQ(points.size(), 8u);
  EXPECT_EQ(points.back().ranks, 1024);
  for (size_t i = 1; i < points.size(); ++i)
    EXPECT_GT(points[i].step(), points[i - 1].step());
  EXPECT_GT(points.front().step() / points.back().step(), 0.95);
  EXPECT_LT(points.back().step_with_failures() / points.back().step(), 1.05);
}

}  // namespace
}  // namespace sterna::plan
