#pragma once

#include <gtest/gtest.h>

#include "tests/run/spread_fixture.h"
#include "trainer/eval/perplexity.h"

namespace sterna::run {

using Values = std::map<std::string, Tensor>;

/// Of a run on all ranks, put together again.
struct Whole {
  Values gradients;  ///< of the first step, behind the quantizers
  std::vector<double> losses;
  std::vector<double> norms;
  Values masters;  ///< at the end
  Values learned;  ///< what quantizers learn, at the end
};

inline void put_rows(Values& whole, const std::string& name, const Tensor& own, const Slot& slot) {
  if (slot.absent() || own.numel() == 0)
    return;
  if (slot.rows.whole()) {
    whole[name] = own.clone();
    return;
  }
  Tensor& all = whole[name];
  if (!all.defined()) {
    std::vector<int64_t> shape = own.sizes().vec();
    shape[0] = slot.rows.total;
    all = at::full(shape, std::nan(""));
  }
  all.narrow(0, slot.rows.begin, slot.rows.count()).copy_(own);
}

inline Whole run_on(const std::filesystem::path& folder,
                    const Spread& spread,
                    int64_t steps,
                    const QuantizerOf& quantizer_of = ternary_in_blocks,
                    const std::function<void(SpreadRank&)>& at_end = {}) {
  Meeting meeting(spread.ranks);
  std::mutex mutex;
  Whole whole;
  on_ranks(meeting, [&](MeetingWorld& world) {
    SpreadRank rank(folder, world, spread, quantizer_of);
    std::vector<double> losses, norms;
    for (int64_t step = 0; step < steps; ++step) {
      const StepReport report = rank.run(step);
      ASSERT_TRUE(report.outcome.applied) << report.outcome.bad_tensor;
      losses.push_back(report.loss);
      norms.push_back(report.outcome.grad_norm);
      const std::scoped_lock lock(mutex);
      if (step == 0)
        for (const Slot& slot : rank.student->slots())
          put_rows(whole.gradients, slot.name, gradient_of(slot), slot);
    }
    if (at_end)
      at_end(rank);
    const std::scoped_lock lock(mutex);
    if (!whole.losses.empty()) {
      EXPECT_EQ(whole.losses, losses) << "ranks report the same";
    }
    whole.losses = losses;
    whole.norms = norms;
    for (const Slot& slot : rank.student->slots()) {
      put_rows(whole.masters, slot.name, slot.master, slot);
      if (slot.quantizer)
        for (const auto& [name, tensor] : slot.quantizer->parameters())
          put_rows(whole.learned, slot.name + "." + name, tensor, slot);
    }
  });
  return whole;
}

inline double apart(const Tensor& a, const Tensor& b) {
  const double most = b.abs().max().item<double>();
  return (a - b).abs().max().item<double>() / std::max(most, 1e-30);
}

/// Every strategy, number of ranks, number of micro-batches, teacher.
inline std::vector<Spread> spreads() {
  std::vector<Spread> all;
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"})
    for (const int64_t ranks : {1, 2, 4})
      for (const int64_t accumulate : {1, 2})
        for (const bool teacher : {false, true})
          all.push_back({strategy, ranks, accumulate, teacher});
  return all;
}

inline std::string spread_name(const testing::TestParamInfo<Spread>& info) {
  const Spread& s = info.param;
  return s.strategy + "_ranks" + std::to_string(s.ranks) + "_micro" + std::to_string(s.accumulate) +
         (s.teacher ? "_teacher" : "");
}

/// This rank's windows of an evaluation in which weights come from the others.
inline eval::Share in_step(dist::World& world) {
  return {world.rank(),
          world.size(),
          [&world](const std::function<std::string()>& measure) {
            return world.gather_bytes(measure());
          },
          /*in_step=*/true};
}

}  // namespace sterna::run
