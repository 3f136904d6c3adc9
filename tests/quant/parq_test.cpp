// PARQ: the map between two levels by hand, on its way from the weights to their rounded values.

#include <cmath>

#include <gtest/gtest.h>

#include "quant/soft_quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

constexpr int64_t kSteps = 100;

Tensor golden() {
  return at::tensor({0.9f, -0.1f, 0.3f, -0.7f, 0.05f, -0.2f, 0.6f, -0.4f}).view({1, -1});
}

// mean|w| = 0.40625: s = min(0.8125, 0.9) / 1.5, so the levels are +-0.27083 and +-0.8125.
TEST(Parq, TwoBitsByHand) {
  const auto parq = make("parq", kExact);
  const float in = 0.8125f / 3, out = 0.8125f;
  const Tensor expected = at::tensor({out, -in, in, -out, in, -in, out, -in}).view({1, -1});
  EXPECT_LT(largest(fake_quant(*parq, golden()) - expected), 1e-6);
}

// Levels 0 and +-1.1 * 0.40625 = 0.446875, cut at half of it.
TEST(Parq, TernaryByHand) {
  const auto parq = make("parq", kExact + ", bits = 0");
  const float s = 1.1f * 0.40625f;
  const Tensor expected = at::tensor({s, 0.0f, s, -s, 0.0f, 0.0f, s, -s}).view({1, -1});
  EXPECT_LT(largest(fake_quant(*parq, golden()) - expected), 1e-6);
}

// Half way the inverse slope is 1/2. In units of s = 0.446875:
//   0.3  -> 0.6713 between 0 and 1:  0.5 + 0.1713 / 0.5 = 0.8427
//   -0.1 -> -0.2238 between -1 and 0: -0.5 + 0.2762 / 0.5 = 0.0525, clamped to 0
//   0.9  lies beyond the grid: 1
TEST(Parq, TheMapHalfWayByHand) {
  const auto parq = make("parq", kExact + ", bits = 0, anneal_end = 1.0");
  parq->init(golden());
  const Tensor value = soft(parq.get())->soft_value(golden(), {50, kSteps});
  const float s = 1.1f * 0.40625f;
  EXPECT_NEAR(value[0][2].item<float>() / s, 0.5 + (0.3 / s - 0.5) / 0.5, 1e-5);
  EXPECT_NEAR(value[0][1].item<float>(), 0, 1e-6);
  EXPECT_NEAR(value[0][0].item<float>(), s, 1e-6);
}

TEST(Parq, LeavesWeightsAloneBeforeItsStartAndRoundsThemFromItsEnd) {
  const Tensor w = heavy({6, 96}, 3);
  for (const int64_t bits : {0, 1, 2, 3, 4}) {
    const auto parq =
        make("parq", "anneal_start = 0.25, anneal_end = 0.75, bits = " + std::to_string(bits));
    const Tensor hard = fake_quant(*parq, w);
    EXPECT_TRUE(at::equal(soft(parq.get())->soft_value(w, {24, kSteps}), w));
    EXPECT_FALSE(soft(parq.get())->soft_value(w, {75, kSteps}).defined());
    // Once the map begins, what lies beyond the grid goes to its edge and the rest stays.
    const Tensor first = soft(parq.get())->soft_value(w, {25, kSteps});
    const double top = bits == 0 ? 1 : std::pow(2.0, static_cast<double>(bits - 1)) - 0.5;
    const Tensor edge = parq->encode(w).scales * top;
    EXPECT_LT(error(first, w.maximum(-edge).minimum(edge)), 1e-6) << bits << " bits";
  }
}

TEST(Parq, ComesNearerToTheRoundedValuesWithEveryStep) {
  const Tensor w = normal({6, 96}, 3);
  for (const int64_t bits : {0, 2, 4}) {
    const auto parq = make("parq", "anneal_end = 1.0, bits = " + std::to_string(bits));
    const Tensor hard = fake_quant(*parq, w);
    double before = HUGE_VAL;
    for (int64_t step = 0; step < kSteps; step += 9) {
      const Tensor value = soft(parq.get())->soft_value(w, {step, kSteps});
      const double apart = (value - hard).square().mean().item<double>();
      EXPECT_LT(apart, before) << bits << " bits, step " << step;
      before = apart;
    }
  }
}

TEST(Parq, PassesTheGradientAsItIs) {
  const Tensor w = heavy({6, 96}, 3);
  const Tensor g = heavy({6, 96}, 4);
  const auto parq = make("parq");
  parq->init(w);
  EXPECT_TRUE(at::equal(soft(parq.get())->soft_backward(w, g, {30, kSteps}).w, g));
}

}  // namespace
}  // namespace sterna::quant
