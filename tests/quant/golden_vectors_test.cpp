// One row worked by hand: w = [.9, -.1, .3, -.7, .05, -.2, .6, -.4].

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

Tensor row(std::vector<float> values) {
  return at::tensor(values).view({1, -1});
}

const Tensor& w() {
  static const Tensor w = row({.9f, -.1f, .3f, -.7f, .05f, -.2f, .6f, -.4f});
  return w;
}

Tensor values(const std::string& name, const std::string& fields, const Tensor& x = w()) {
  const auto quantizer = make(name, kExact + ", " + fields);
  return fake_quant(*quantizer, x);
}

TEST(GoldenRow, TwnKeepsFiveWeightsAtTheirMean) {
  // mean|w| = 3.25 / 8 = .40625, cut = .284375, kept {.9 .3 .7 .6 .4}: 2.9 / 5.
  EXPECT_LT(error(values("twn", "group = 0"), row({.58f, 0, .58f, -.58f, 0, 0, .58f, -.58f})),
            1e-6);
}

TEST(GoldenRow, SeqWithFourLevelsHasNoZero) {
  // alpha = .9: levels +-.225, +-.675.
  EXPECT_LT(error(values("seq", "bits = 2"),
                  row({.675f, -.225f, .225f, -.675f, .225f, -.225f, .675f, -.225f})),
            1e-6);
}

TEST(GoldenRow, SeqWithThreeLevelsRoundsAnExactHalfToZero) {
  // .3 / .9 * 1.5 is .5 in fp32 only under true division.
  EXPECT_LT(error(values("seq", "bits = 0"), row({.6f, 0, 0, -.6f, 0, 0, .6f, -.6f})), 1e-6);
}

TEST(GoldenRow, SeqRoundsItsTiesToEven) {
  const auto seq = make("seq", kExact);
  const Tensor x = row({0, .5f, -.5f});
  seq->init(x);
  at::Tensor alpha = seq->parameters()[0].tensor;
  alpha.fill_(1.0);
  EXPECT_TRUE(at::equal(decode(seq->encode(x)), row({.25f, .25f, -.75f})));
}

TEST(GoldenRow, MinmaxAsymHasZeroAmongItsFourLevels) {
  // s = 1.6 / 3, z = round(.7 / .5333) = 1.
  const float s = 1.6f / 3;
  EXPECT_LT(
      error(values("minmax_asym", "bits = 2, group = 8"), row({2 * s, 0, s, -s, 0, 0, s, -s})),
      1e-6);
  EXPECT_LT(
      error(values("affine_learned", "bits = 2, group = 8"), row({2 * s, 0, s, -s, 0, 0, s, -s})),
      1e-6);
}

TEST(GoldenRow, MinmaxSymLeavesOutOrTakesInTheLowestCode) {
  // 3 bits: s = .3 over -3 .. 3; full range -4 .. 3: s = max(.7 / 4, .9 / 3) = .3.
  EXPECT_LT(error(values("minmax_sym", "bits = 3"), row({.9f, 0, .3f, -.6f, 0, -.3f, .6f, -.3f})),
            1e-6);
  const Tensor low = row({.9f, -1.2f});
  EXPECT_LT(error(values("minmax_sym", "bits = 3", low), row({.8f, -1.2f})), 1e-6);
  EXPECT_LT(error(values("minmax_sym", "bits = 3, full_range = true", low), low), 1e-6);
}

TEST(GoldenRow, AbsmeanTakesTheMeanAsItsOnlyLevel) {
  // mean|w| = .40625, threshold half of it.
  constexpr float kMean = .40625f;
  EXPECT_LT(
      error(values("absmean", "group = 0"), row({kMean, 0, kMean, -kMean, 0, 0, kMean, -kMean})),
      1e-6);
}

TEST(GoldenRow, PactsGradientsAreTheSpecifications) {
  // gamma = 1: alpha = .40625, S = .159375 / .40625, the mean adds S / 8 times the sign.
  const auto pact = make("pact", kExact + ", gamma = 1");
  pact->init(w());
  const Gradients back = pact->backward(w(), row({1, 2, -1, .5f, 3, -2, 1, -1}));
  EXPECT_NEAR(back.params[0].item<float>(), .159375f, 1e-6);
  EXPECT_LT(error(back.w,
                  row({.049038f,
                       1.950962f,
                       -.950962f,
                       -.049038f,
                       3.049038f,
                       -2.049038f,
                       .049038f,
                       -1.049038f})),
            1e-6);
}

TEST(GoldenRow, LlmQatAtTwoBitsHasTheGridOfSeqOnAStatistic) {
  // alpha = 2 mean|w| = .8125: levels +-.203125, +-.609375.
  constexpr float kInner = .203125f;
  constexpr float kOuter = .609375f;
  EXPECT_LT(error(values("llm_qat", "bits = 2"),
                  row({kOuter, -kInner, kInner, -kOuter, kInner, -kInner, kOuter, -kInner})),
            1e-6);
}

TEST(GoldenRow, DintHasHalfStepsAboutZero) {
  // R = 6, s = .15.
  EXPECT_LT(error(values("dint", "symmetric = true"),
                  row({.9f, -.075f, .3f, -.75f, .075f, -.15f, .6f, -.45f})),
            1e-6);
}

TEST(GoldenRow, Balanced2HasFourLevelsAndNoZero) {
  // absmax: step .9 / 1.5 = .6, levels +-.3, +-.9.
  EXPECT_LT(error(values("balanced2", "init = \"absmax\""),
                  row({.9f, -.3f, .3f, -.9f, .3f, -.3f, .9f, -.3f})),
            1e-6);
}

TEST(GoldenRow, ABf16ScaleIsTheRoundedFp32Scale) {
  const auto twn = make("twn");
  // .58 = 1.16 * 2^-1; 1.16 * 128 = 148.48 -> 148 / 128 / 2.
  EXPECT_EQ(twn->encode(w()).scales.item<float>(), 148.0f / 256);
}

TEST(GoldenRow, AnUnknownWidthOfSeqIsRefused) {
  EXPECT_THROW(make("seq", "bits = 1"), recipes::UserError);
}

TEST(GoldenRow, BitsPerWeightCountScalesAndZeroPoints) {
  const Tensor x = heavy({4, 128}, 1);
  const auto bits = [&](const std::string& name, const std::string& fields) {
    const auto quantizer = make(name, fields);
    quantizer->init(x);
    return bits_per_weight(quantizer->encode(x));
  };
  EXPECT_DOUBLE_EQ(bits("minmax_sym", "bits = 3, group = 64"), 3 + 16.0 / 64);
  EXPECT_DOUBLE_EQ(bits("minmax_asym", "bits = 3, group = 64"), 3 + (16 + 3) / 64.0);
  EXPECT_DOUBLE_EQ(bits("twn", "group = -1, scale_dtype = \"fp32\""), 2 + 32.0 / 512);
}

}  // namespace
}  // namespace sterna::quant
