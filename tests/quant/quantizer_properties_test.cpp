// What single quantizers promise beyond the contract.

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

const std::string kExact = "scale_dtype = \"fp32\"";

TEST(OddSymmetry, HoldsForSymmetricGrids) {
  const Tensor w = heavy({8, 96}, 1);
  for (const auto& [name, fields] : std::vector<std::pair<std::string, std::string>>{
           {"twn", ""}, {"minmax_sym", "bits = 3"}, {"seq", "bits = 0"}}) {
    const auto one = make(name, fields);
    const auto other = make(name, fields);
    EXPECT_TRUE(at::equal(fake_quant(*other, -w), -fake_quant(*one, w))) << name;
  }
}

/// Mean squared error on a million Gaussian weights.
double gaussian_error(const std::string& name, const std::string& fields) {
  const Tensor w = normal({1000, 1000}, 2);
  const auto quantizer = make(name, kExact + ", group = -1, " + fields);
  return (fake_quant(*quantizer, w) - w).square().mean().item<double>();
}

TEST(GaussianError, IsThatOfTheTable) {
  EXPECT_NEAR(gaussian_error("twn", "threshold = 0.7"), 0.1916, 0.01 * 0.1916);
  // Best uniform quantizers of a Gaussian (Max 1960), which init = "mean" aims at.
  EXPECT_NEAR(gaussian_error("minmax_sym", "bits = 2, init = \"mean\""), 0.19017, 0.0019);
  EXPECT_NEAR(gaussian_error("minmax_sym", "bits = 4, init = \"mean\""), 0.012889, 0.00013);
  EXPECT_NEAR(gaussian_error("seq", "bits = 2, init = \"mean\""), 0.11885, 0.0012);
  EXPECT_NEAR(gaussian_error("seq", "bits = 0, init = \"mean\""), 0.19017, 0.0019);
}

TEST(GaussianError, ASearchedRangeComesWithinTwoPercentOfTheBest) {
  EXPECT_LT(gaussian_error("minmax_sym", "bits = 2, init = \"mse\""), 1.02 * 0.19017);
  EXPECT_LT(gaussian_error("minmax_sym", "bits = 4, init = \"mse\""), 1.02 * 0.012889);
  EXPECT_LT(gaussian_error("seq", "bits = 2, init = \"mse\""), 1.02 * 0.11885);
  EXPECT_LT(gaussian_error("seq", "bits = 0, init = \"mse\""), 1.02 * 0.19017);
  EXPECT_LT(gaussian_error("affine_learned", "bits = 4, init = \"mse\""), 1.02 * 0.012889);
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

TEST(Quantizers, TheRegistryListsThemByName) {
  const auto names = quantizers().names();
  for (const char* name : {"affine_learned", "minmax_asym", "minmax_sym", "seq", "twn"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

}  // namespace
}  // namespace sterna::quant
