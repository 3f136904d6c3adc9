#pragma once

#include <cmath>

#include "tests/run/own_network.h"
#include "tests/run/ranks_fixture.h"

namespace sterna::tests {

/// Runs of ranks in a network of their own, in which what a step sends is counted.
class Wire : public RankTraining {
 protected:
  void SetUp() override {
    RankTraining::SetUp();
    if (!IsSkipped())
      write_tiny_model(folder_.path() / "model", shape());
  }

  /// Rows that 64 ranks share out evenly: what is padded would travel too.
  static TinyModel shape() {
    TinyModel shape;
    shape.vocab = 320;
    shape.width = 128;
    shape.inner = 256;
    return shape;
  }
  static constexpr double kHead = 320 * 128;  ///< weights of the head, of the embedding
  static constexpr double kBlock = 128 * (128 + 64 + 64 + 128 + 3 * 256) + 2 * 128;
  static constexpr double kWeights = 2 * kHead + 2 * kBlock + 128;

  /// A step has one sample for each of so many ranks.
  static std::vector<std::string> keys(int64_t samples, const std::string& strategy) {
    return {"train.batch=1",
            "train.accumulate=" + std::to_string(samples),
            "train.log_every=1",
            "train.schedule=constant",
            "train.freeze=[]",
            "train.checkpoint_every=0",
            "dist.strategy=" + strategy,
            "dist.teacher=" + std::string(strategy == "zero3" ? "sharded" : "replicated")};
  }

  /// Bytes that all ranks of a run send, from its first to its last moment.
  double sent_by(int64_t ranks, const std::string& name, const std::vector<std::string>& more) {
    const double before = network_.sent();
    const auto began = std::chrono::steady_clock::now();
    Program program(of_ranks(ranks, name, more), folder_.path() / "output.txt", [this] {
      if (network_.made() && !network_.enter())
        _exit(99);
    });
    const int code = program.wait();
    output_ = program.output();
    EXPECT_EQ(code, 0) << output_;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
    seconds_ = std::max(seconds_, passed.count());
    return network_.sent() - before;
  }

  static constexpr int kSteps = 4;  ///< over which the bytes of one are a mean

  /// Bytes that all ranks together send in a step: what a run of so many more steps sends more.
  double sent_in_a_step(int64_t ranks, std::vector<std::string> more) {
    more.emplace_back("train.steps=2");
    const double few = sent_by(ranks, "few", more);
    more.back() = "train.steps=" + std::to_string(2 + kSteps);
    return (sent_by(ranks, "many", more) - few) / kSteps;
  }

  /// What a strategy hands to collectives in a step, in weights, and in how many messages a ring or
  /// an exchange of all with all carries it, as often as there are other ranks. A sum is a
  /// reduce-scatter and an all-gather; each is one for every part of the model but under ddp.
  struct Carried {
    double weights = 0;
    double messages = 0;
  };
  /// @param rounded  gradients travel in bf16
  Carried carried(const std::string& strategy, int64_t ranks, bool rounded) const {
    const double half = rounded ? 0.5 : 1;
    if (strategy == "ddp")
      return {half * 2 * kWeights, 4 * buckets_};
    // A rank's piece of a norm is filled up to 64 elements of a gradient, 64 bytes of a weight.
    const auto n = static_cast<double>(ranks);
    const double norm = 128 / n;
    const double summed = half * kWeights + half * 5 * n * (64 * std::ceil(norm / 64) - norm);
    const double gathered = kWeights + 5 * n * (16 * std::ceil(norm / 16) - norm);
    if (strategy == "zero3")  // weights come twice, but for the head's, and the teacher's once
      return {summed + 2 * gathered - kHead + gathered, 5 + 2 * (5 + 4) + 2 * 5};
    return {summed + gathered, 5 + 2 * 5};
  }

  /// Of what is handed over, (N-1)/N leaves each of N ranks. Gloo puts up to 144 bytes before a
  /// message, a rank's signs of life take up to 4 KiB a second of a run, sums of few numbers are
  /// within the hundredth.
  void expect_bytes(double found,
                    int64_t ranks,
                    const std::string& strategy,
                    bool rounded = false) const {
    ASSERT_TRUE(network_.made());
    const auto others = static_cast<double>(ranks - 1);
    const Carried all = carried(strategy, ranks, rounded);
    const double bytes = 4 * all.weights * others;
    const double headers = 144 * all.messages * others * static_cast<double>(ranks);
    std::printf(
        "%s, %ld ranks: %.0f bytes a step: weights %.4f of it, headers up to %.4f; %.4f of "
        "2 (N-1) weights\n",
        strategy.c_str(),
        static_cast<long>(ranks),
        found,
        bytes / found,
        headers / found,
        found / (2 * 4 * kWeights * others));
    const double alive = 4096.0 * static_cast<double>(ranks) * seconds_ / kSteps;
    EXPECT_GT(found, 0.99 * bytes - alive) << strategy << ", " << ranks << " ranks";
    EXPECT_LT(found, 1.01 * (bytes + headers) + alive) << strategy << ", " << ranks << " ranks";
  }

  OwnNetwork network_;
  double seconds_ = 0;  ///< that the longest run took
  double buckets_ = 1;  ///< in which ddp sums gradients
};

}  // namespace sterna::tests
