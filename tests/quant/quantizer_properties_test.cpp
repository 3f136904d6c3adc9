// What single quantizers promise beyond the contract.

#include <cmath>

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

TEST(OddSymmetry, HoldsForSymmetricGrids) {
  const Tensor w = heavy({8, 96}, 1);
  for (const auto& [name, fields] :
       std::vector<std::pair<std::string, std::string>>{{"twn", ""},
                                                        {"minmax_sym", "bits = 3"},
                                                        {"seq", "bits = 0"},
                                                        {"absmean", ""},
                                                        {"pact", "bits = 3"},
                                                        {"llm_qat", "bits = 4"},
                                                        {"dint", "symmetric = true"}}) {
    const auto one = make(name, fields);
    const auto other = make(name, fields);
    EXPECT_TRUE(at::equal(fake_quant(*other, -w), -fake_quant(*one, w))) << name;
  }
}

/// Mean squared error on a million Gaussian weights.
double gaussian_error(const std::string& name, const std::string& fields) {
  const Tensor w = normal({1000, 1000}, 2);
  const auto quantizer =
      make(name, kExact + ", group = -1" + (fields.empty() ? "" : ", " + fields));
  return (fake_quant(*quantizer, w) - w).square().mean().item<double>();
}

TEST(GaussianError, IsThatOfTheTable) {
  EXPECT_NEAR(gaussian_error("twn", "threshold = 0.7"), 0.1916, 0.01 * 0.1916);
  // Best uniform quantizers of a Gaussian (Max 1960), which init = "gaussian" aims at.
  EXPECT_NEAR(gaussian_error("minmax_sym", "bits = 2, init = \"gaussian\""), 0.19017, 0.0019);
  EXPECT_NEAR(gaussian_error("minmax_sym", "bits = 4, init = \"gaussian\""), 0.012889, 0.00013);
  EXPECT_NEAR(gaussian_error("seq", "bits = 2, init = \"gaussian\""), 0.11885, 0.0012);
  EXPECT_NEAR(gaussian_error("seq", "bits = 0, init = \"gaussian\""), 0.19017, 0.0019);
  EXPECT_NEAR(gaussian_error("absmean", ""), 0.2634, 0.01 * 0.2634);
  EXPECT_NEAR(gaussian_error("balanced2", "init = \"gaussian\""), 0.11885, 0.0012);
  EXPECT_NEAR(gaussian_error("pact", "init = \"gaussian\""), 0.19017, 0.0019);
  EXPECT_NEAR(gaussian_error("lsq", "bits = 0, init = \"gaussian\""), 0.19017, 0.0019);
  EXPECT_NEAR(gaussian_error("clip_learned", "bits = 2, init = \"gaussian\""), 0.11885, 0.0012);
}

/// Mean squared error of dINT on a Gaussian whose range is `reach` sigma.
double dint_error(const std::string& fields, float reach) {
  Tensor w = normal({1000, 1000}, 2).clamp_(-reach, reach);
  w[0][0] = reach;
  const auto dint = make("dint", kExact + ", symmetric = true, group = -1, " + fields);
  const Tensor unclipped = normal({1000, 1000}, 2);
  return (fake_quant(*dint, w) - unclipped).square().mean().item<double>();
}

TEST(GaussianError, OfDintIsThatOfTheSpecification) {
  EXPECT_NEAR(dint_error("bits = 4", 3.0f), 0.01515, 0.0002);
  EXPECT_NEAR(dint_error("bits = 4", 4.0f), 0.02309, 0.0003);
  EXPECT_NEAR(dint_error("bits = 3", 3.0f), 0.0612, 0.0007);
  EXPECT_NEAR(dint_error("bits = 3", 4.0f), 0.0885, 0.0009);
}

TEST(GaussianError, ASearchedRangeComesWithinTwoPercentOfTheBest) {
  EXPECT_LT(gaussian_error("minmax_sym", "bits = 2, init = \"mse\""), 1.02 * 0.19017);
  EXPECT_LT(gaussian_error("minmax_sym", "bits = 4, init = \"mse\""), 1.02 * 0.012889);
  EXPECT_LT(gaussian_error("seq", "bits = 2, init = \"mse\""), 1.02 * 0.11885);
  EXPECT_LT(gaussian_error("seq", "bits = 0, init = \"mse\""), 1.02 * 0.19017);
  EXPECT_LT(gaussian_error("affine_learned", "bits = 4, init = \"mse\""), 1.02 * 0.012889);
  EXPECT_LT(gaussian_error("lsq", "bits = 0, init = \"mse\""), 1.02 * 0.19017);
  EXPECT_LT(gaussian_error("balanced2", "init = \"mse\""), 1.02 * 0.11885);
}

TEST(MinmaxAsym, SaturatesWhereAllWeightsHaveOneSign) {
  const auto asym = make("minmax_asym", kExact + ", bits = 2, group = 4");
  const Tensor w = at::tensor({1.0f, 2.0f, 3.0f, 4.0f, -1.0f, -2.0f, -3.0f, -4.0f}).view({2, 4});
  const Encoded e = asym->encode(w);
  EXPECT_TRUE(at::equal(e.zeros, at::tensor({0.0f, 3.0f}).view({2, 1})));
  const Tensor expected =
      at::tensor({1.0f, 2.0f, 3.0f, 3.0f, -1.0f, -2.0f, -3.0f, -3.0f}).view({2, 4});
  EXPECT_TRUE(at::equal(decode(e), expected));
}

TEST(MinmaxAsym, EightBitCodesFitInt8AndDecodeAsUnsignedOnes) {
  const Tensor w = heavy({4, 64}, 3);
  const auto asym = make("minmax_asym", kExact + ", bits = 8, group = 0");
  const Encoded e = asym->encode(w);
  EXPECT_EQ(e.code_min, -128);
  const Tensor s = (w.amax(1, true) - w.amin(1, true)) / 255;
  const Tensor z = (-(w.amin(1, true) / s).round()).clamp(0, 255);
  const Tensor q = ((w / s).round() + z).clamp(0, 255);
  EXPECT_TRUE(at::equal(e.codes.to(at::kFloat) + 128, q));
  EXPECT_TRUE(at::equal(decode(e), (q - z) * s));
}

TEST(Twn, AZeroGroupDecodesToZeros) {
  const auto twn = make("twn", "group = 16");
  Tensor w = heavy({2, 32}, 4);
  w.slice(1, 16, 32).zero_();
  EXPECT_EQ(largest(decode(twn->encode(w)).slice(1, 16, 32)), 0.0);
}

TEST(ClipVal, PassesNoGradientAtItsVeryEdge) {
  const Tensor w = at::tensor({2.5f, -2.5f, 2.4375f, -3.0f}).view({1, 4});
  const Tensor g = at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({1, 4});
  const Tensor expected = at::tensor({0.0f, 0.0f, 3.0f, 0.0f}).view({1, 4});
  for (const char* name : {"twn", "minmax_sym"})
    EXPECT_TRUE(at::equal(make(name, "clip_val = 2.5")->backward(w, g).w, expected)) << name;
}

TEST(AffineLearned, ClampsScaleAndZeroPointInsideEncode) {
  const Tensor w = heavy({2, 16}, 5);
  const auto affine = make("affine_learned", kExact + ", bits = 2, group = 0");
  affine->init(w);
  Tensor scale = affine->parameters()[0].tensor;
  Tensor zero = affine->parameters()[1].tensor;
  scale.copy_(at::tensor({-1.0f, 1e6f}).view({2, 1}));
  zero.copy_(at::tensor({-7.0f, 2.5f}).view({2, 1}));
  const Encoded e = affine->encode(w);
  EXPECT_TRUE(at::equal(e.scales, at::tensor({1e-4f, 1e4f}).view({2, 1})));
  EXPECT_TRUE(at::equal(e.zeros, at::tensor({0.0f, 2.0f}).view({2, 1})));
}

/// 1201 weights of a row whose scale is 1 and whose zero point (of the asymmetric grid) is 5.
Tensor dense() {
  return at::arange(1201, at::kFloat).sub_(500).div_(100).view({1, -1});
}

/// The nearest of the levels that the codes of `e` can decode to.
Tensor nearest(const Encoded& e, const Tensor& w) {
  const Tensor row = e.zeros.defined() ? e.levels[e.zeros.item<int64_t>()] : e.levels;
  const Tensor levels = row * e.scales.item<float>();
  return levels.index({(w.view({-1, 1}) - levels).abs().argmin(1)}).view(w.sizes());
}

TEST(Dint, EncodesToTheNearestValueOfItsGrid) {
  for (const char* fields : {"symmetric = true", "symmetric = false", "bits = 3", "group = 0"}) {
    const auto dint = make("dint", kExact + ", " + fields);
    const Tensor w = dense();
    const Encoded e = dint->encode(w);
    const Tensor expected = nearest(e, w);
    EXPECT_LE(largest((decode(e) - w).abs() - (expected - w).abs()), 1e-6) << fields;
    // Nothing between a quarter and three quarters of a step is lost.
    const Tensor v = w.abs() / e.scales.item<float>();
    const Tensor underflow = (v > 0.2501).logical_and(v < 0.7499).logical_and(decode(e) == 0);
    EXPECT_FALSE(underflow.any().item<bool>()) << fields;
    EXPECT_TRUE(at::equal(decode(dint->encode(decode(e))), decode(e))) << fields;
  }
}

TEST(Dint, TiesGoToTheIntegerAndThereToTheEvenOne) {
  const auto dint = make("dint", kExact + ", symmetric = true");
  const Tensor w =
      at::tensor({6.0f, 0.25f, 0.75f, 1.5f, 2.5f, -0.25f, -0.75f, -1.5f, -2.5f}).view({1, 9});
  const Tensor expected =
      at::tensor({6.0f, 0.0f, 1.0f, 2.0f, 2.0f, 0.0f, -1.0f, -2.0f, -2.0f}).view({1, 9});
  EXPECT_TRUE(at::equal(decode(dint->encode(w)), expected));
}

TEST(Dint, AnIntegerProductOfDoubledCodesIsTheFloatProduct) {
  const Tensor w = heavy({4, 64}, 5);
  const Tensor x = at::randint(-127, 128, {64}, at::kFloat);
  for (const char* fields : {"symmetric = true", "symmetric = false"}) {
    const Encoded e = make("dint", fields)->encode(w);
    const Tensor doubled = decode(e) / e.scales * 2;
    EXPECT_TRUE(at::equal(doubled, doubled.round()));
    EXPECT_LE(largest(doubled), 26);
    const Tensor exact = doubled.to(at::kDouble).mv(x.to(at::kDouble));
    EXPECT_TRUE(at::equal(doubled.mv(x).to(at::kDouble), exact));
  }
}

TEST(Nf, TheFourBitTableIsQlorasAndTheOthersFollowItsRule) {
  const Tensor four = make("nf")->encode(heavy({1, 64}, 6)).levels;
  EXPECT_NEAR(four[1].item<float>(), -0.6961928, 1e-6);
  EXPECT_NEAR(four[14].item<float>(), 0.7229568, 1e-6);
  for (const int64_t bits : {2, 3, 4}) {
    const int64_t half = int64_t{1} << (bits - 1);
    const auto quantiles = [](int64_t points) {
      const Tensor p = at::linspace(0.9677083, 0.5, points, at::kDouble);
      return at::special_ndtri(p).slice(0, 0, points - 1);
    };
    const Tensor above = quantiles(half + 1).flip(0);
    const Tensor zero = at::zeros({1}, at::kDouble);
    const Tensor levels = at::cat({-quantiles(half), zero, above}) / above[half - 1];
    const auto nf = make("nf", "bits = " + std::to_string(bits));
    EXPECT_LT(error(nf->encode(heavy({1, 64}, 6)).levels.to(at::kDouble), levels), 1e-6) << bits;
  }
}

TEST(Lsq, OneBitIsTheSignAndKeepsAZeroOnlyWhereAsked) {
  const Tensor w = at::tensor({0.5f, -0.25f, 0.0f, -1e-12f}).view({1, 4});
  const auto plain = make("lsq", kExact + ", bits = 1");
  const auto official = make("lsq", kExact + ", bits = 1, official_zero = true");
  for (Quantizer* quantizer : {plain.get(), official.get()}) {
    quantizer->init(w);
    quantizer->parameters()[0].tensor.fill_(0.5);
  }
  EXPECT_TRUE(
      at::equal(decode(plain->encode(w)), at::tensor({0.5f, -0.5f, 0.5f, -0.5f}).view({1, 4})));
  EXPECT_TRUE(
      at::equal(decode(official->encode(w)), at::tensor({0.5f, -0.5f, 0.0f, -0.5f}).view({1, 4})));
  EXPECT_EQ(plain->encode(w).bits, 1);
  EXPECT_EQ(official->encode(w).bits, 2);
}

TEST(Lwc, LargeLogitsGivePlainMinmax) {
  const Tensor w = heavy({4, 128}, 7);
  const auto lwc = make("lwc", kExact + ", bits = 3, group = 32");
  lwc->init(w);
  for (const auto& [name, logits] : lwc->parameters())
    logits.fill_(40);
  const auto plain = make("minmax_asym", kExact + ", bits = 3, group = 32");
  EXPECT_TRUE(at::equal(decode(lwc->encode(w)), decode(plain->encode(w))));
}

TEST(Inits, AreTheirFormulas) {
  const Tensor w = heavy({2, 64}, 8);
  const auto first = [&](const char* init) {
    const auto lsq = make("lsq", kExact + ", bits = 4, init = \"" + init + "\"");
    lsq->init(w);
    return lsq->parameters()[0].tensor.reshape(-1);
  };
  const Tensor mean = w.abs().mean(1);
  EXPECT_LT(error(first("absmax"), w.abs().amax(1) / 7), 1e-6);
  EXPECT_LT(error(first("mean"), mean * 2 / std::sqrt(7.0)), 1e-6);
  EXPECT_LT(error(first("gaussian"), mean * 0.44294), 1e-6);
  const Tensor clipped = first("clip_search") * 7 / w.abs().amax(1);
  EXPECT_LT(largest((clipped * 20 - (clipped * 20).round())), 1e-4) << "steps of 5 %";
  EXPECT_GE(clipped.min().item<float>(), 0.549f);
}

TEST(Inits, BitDistillersSearchMovesEitherEndByItself) {
  // One outlier above: only the upper end pays for shrinking.
  Tensor w = at::linspace(-1, 1, 64).view({1, 64}).clone();
  w[0][63] = 2.0f;
  const auto asym = make("minmax_asym", kExact + ", bits = 2, group = 0, init = \"clip_search\"");
  asym->init(w);
  const Encoded e = asym->encode(w);
  double least = 1e30;
  for (int up = 0; up < 10; ++up)
    for (int down = 0; down < 10; ++down) {
      const float max = 2.0f * (1.0f - 0.05f * static_cast<float>(up));
      const float min = -1.0f * (1.0f - 0.05f * static_cast<float>(down));
      const Tensor s = at::full({1, 1}, (max - min) / 3);
      const Tensor z = (-(min / s).round()).clamp(0, 3);
      const Tensor wq = (((w / s).round() + z).clamp(0, 3) - z) * s;
      least = std::min(least, (wq - w).square().sum().item<double>());
    }
  EXPECT_NEAR((decode(e) - w).square().sum().item<double>(), least, 1e-5 * least);
}

TEST(Refusals, NameWhatToChange) {
  const auto message = [](const char* name, const char* fields) -> std::string {
    try {
      make(name, fields);
    } catch (const recipes::UserError& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_NE(message("minmax_sym", "official_kept_mean = true, init = \"mse\"").find("init"),
            std::string::npos);
  EXPECT_NE(message("minmax_asym", "official_range_gradient = true, zero = \"float\"").find("zero"),
            std::string::npos);
  EXPECT_NE(message("clip_learned", "init = \"sawb\", bits = 8").find("2 to 5 bits"),
            std::string::npos);
}

TEST(Quantizers, TheRegistryListsThemByName) {
  const auto names = quantizers().names();
  for (const char* name : {"absmean",
                           "affine_learned",
                           "balanced2",
                           "clip_learned",
                           "dint",
                           "llm_qat",
                           "lsq",
                           "lwc",
                           "minmax_asym",
                           "minmax_sym",
                           "nf",
                           "nf3_sided",
                           "pact",
                           "seq",
                           "twn"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

}  // namespace
}  // namespace sterna::quant
