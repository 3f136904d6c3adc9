#include "kvcache/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace sterna::kvcache {
namespace {

RopeConfig llama3(int64_t head_dim) {
  RopeConfig config;
  config.type = "llama3";
  config.theta = 500000;
  config.head_dim = head_dim;
  config.factor = 8;
  config.low_freq_factor = 1;
  config.high_freq_factor = 4;
  config.original_max_positions = 8192;
  return config;
}

// The published rule, in fp64.
double llama3_frequency(const RopeConfig& c, int64_t i) {
  const double f = std::pow(c.theta, -2.0 * i / c.head_dim);
  const double wavelength = 2 * std::numbers::pi / f;
  const auto length = static_cast<double>(c.original_max_positions);
  if (wavelength > length / c.low_freq_factor) {
    return f / c.factor;
  }
  if (wavelength < length / c.high_freq_factor) {
    return f;
  }
  const double s =
      (length / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return f * ((1 - s) / c.factor + s);
}

TEST(Rope, DefaultFrequenciesFallGeometrically) {
  RopeConfig config;
  config.head_dim = 6;
  config.theta = 1000;
  const Tensor f = Rope(config).inverse_frequencies();
  // 1000^0, 1000^(-1/3), 1000^(-2/3)
  EXPECT_LT((f - at::tensor({1.0, 0.1, 0.01}, at::kFloat)).abs().max().item<float>(), 1e-8);
}

TEST(Rope, LinearDividesEveryFrequency) {
  RopeConfig config;
  config.head_dim = 6;
  config.theta = 1000;
  config.type = "linear";
  config.factor = 4;
  const Tensor f = Rope(config).inverse_frequencies();
  EXPECT_LT((f - at::tensor({0.25, 0.025, 0.0025}, at::kFloat)).abs().max().item<float>(), 1e-8);
}

TEST(Rope, Llama3KeepsShortWavelengthsStretchesLongOnesAndRampsBetween) {
  const RopeConfig config = llama3(128);
  const Tensor f = Rope(config).inverse_frequencies();
  int kept = 0, divided = 0;
  for (int64_t i = 0; i < 64; ++i) {
    const double expected = llama3_frequency(config, i);
    EXPECT_NEAR(f[i].item<double>() / expected, 1.0, 2e-6) << i;
    const double base = std::pow(config.theta, -2.0 * i / config.head_dim);
    kept += expected == base;
    divided += expected == base / config.factor;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_LT(kept + divided, 64);
}

TEST(Rope, DynamicRaisesTheBaseOnlyBeyondTheOriginalLength) {
  RopeConfig config;
  config.head_dim = 16;
  config.type = "dynamic";
  config.factor = 4;
  config.original_max_positions = 100;
  const Rope rope(config);
  RopeConfig plain = config;
  plain.type = "default";
  EXPECT_TRUE(at::equal(rope.inverse_frequencies(100), Rope(plain).inverse_frequencies()));
  const double theta = 10000 * std::pow(4 * 250.0 / 100 - 3, 16.0 / 14);
  for (int64_t i = 0; i < 8; ++i)
    EXPECT_NEAR(
        rope.inverse_frequencies(250)[i].item<double>() * std::pow(theta, i / 8.0), 1, 2e-6);
  // The length is that of the last position.
  const RopeTable table = rope.table(at::tensor({3, 249}, at::kLong), at::kFloat);
  EXPECT_NEAR(table.cos[1][1].item<double>(), std::cos(249 * std::pow(theta, -1 / 8.0)), 1e-4);
}

TEST(Rope, YarnRampsBetweenTheDimensionsOfFastAndSlowTurns) {
  RopeConfig config;
  config.head_dim = 64;
  config.type = "yarn";
  config.factor = 8;
  config.original_max_positions = 2048;
  const auto dimension = [](double turns) {
    return 64 * std::log(2048 / (2 * std::numbers::pi * turns)) / (2 * std::log(10000.0));
  };
  for (const bool truncate : {true, false}) {
    config.truncate = truncate;
    const Rope rope(config);
    const double low = truncate ? std::floor(dimension(32)) : dimension(32);
    const double high = truncate ? std::ceil(dimension(1)) : dimension(1);
    for (int64_t i = 0; i < 32; ++i) {
      const double f = std::pow(10000.0, -i / 32.0);
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      const double expected = f * (1 - ramp) + f / 8 * ramp;
      EXPECT_NEAR(rope.inverse_frequencies()[i].item<double>() / expected, 1, 2e-6) << i;
    }
    EXPECT_NEAR(rope.attention_factor(), 0.1 * std::log(8.0) + 1, 1e-12);
    const RopeTable table = rope.table(at::arange(1), at::kFloat);
    EXPECT_NEAR(table.cos[0][0].item<double>(), 0.1 * std::log(8.0) + 1, 1e-6);
  }
  config.mscale = 0.5;
  config.mscale_all_dim = 2;
  EXPECT_NEAR(Rope(config).attention_factor(),
              (0.05 * std::log(8.0) + 1) / (0.2 * std::log(8.0) + 1),
              1e-12);
}

TEST(Rope, LongropeDividesByAnotherListBeyondTheOriginalLength) {
  RopeConfig config;
  config.head_dim = 4;
  config.theta = 100;
  config.type = "longrope";
  config.factor = 8;
  config.original_max_positions = 64;
  config.short_factor = {1, 2};
  config.long_factor = {4, 5};
  const Rope rope(config);
  EXPECT_NEAR(rope.inverse_frequencies(64)[1].item<double>(), 0.1 / 2, 1e-8);
  EXPECT_NEAR(rope.inverse_frequencies(65)[0].item<double>(), 1.0 / 4, 1e-8);
  EXPECT_NEAR(rope.inverse_frequencies(65)[1].item<double>(), 0.1 / 5, 1e-8);
  EXPECT_NEAR(rope.attention_factor(), std::sqrt(1 + std::log(8.0) / std::log(64.0)), 1e-12);
  config.attention_factor = 1.75;
  EXPECT_EQ(Rope(config).attention_factor(), 1.75);
  config.long_factor = {4};
  EXPECT_THROW(Rope{config}, c10::Error);
}

TEST(Rope, RowsMayStandAtOtherPositions) {
  RopeConfig config;
  config.head_dim = 8;
  const Rope rope(config);
  at::manual_seed(6);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const Tensor x = at::randn({2, 3, 5, 8}).to(dtype);
    const Tensor positions = at::tensor({0, 1, 2, 0, 1, 7, 8, 0, 1, 2}, at::kLong).view({2, 5});
    const Tensor both = rotate(x, rope.table(positions, dtype));
    for (int64_t row = 0; row < 2; ++row)
      EXPECT_TRUE(at::equal(both.narrow(0, row, 1),
                            rotate(x.narrow(0, row, 1), rope.table(positions[row], dtype))));
  }
}

TEST(Rope, DivisorsOfAFileGiveTheSameAsTheirRule) {
  const RopeConfig rule = llama3(32);
  RopeConfig file;
  file.theta = rule.theta;
  file.head_dim = 32;
  for (int64_t i = 0; i < 16; ++i) {
    file.divisors.push_back(std::pow(rule.theta, -2.0 * i / 32) / llama3_frequency(rule, i));
  }
  const Tensor a = Rope(rule).inverse_frequencies();
  const Tensor b = Rope(file).inverse_frequencies();
  EXPECT_LT(((a - b) / a).abs().max().item<float>(), 2e-6);
}

TEST(Rope, TurnsPairsByTheAngleOfTheirPosition) {
  RopeConfig config;
  config.head_dim = 10;
  const Rope rope(config);
  at::manual_seed(3);
  const Tensor positions = at::tensor({0, 1, 77, 8191, 5}, at::kLong);
  const Tensor x = at::randn({2, 5, 3, 10}).pow(3).transpose(1, 2);
  const Tensor y = rotate(x, rope.table(positions, at::kFloat));
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t i = 0; i < 5; ++i) {
      // fp32 angles, as transformers has them: the error of one ulp at 8,191 is 5e-4.
      const float angle = static_cast<float>(positions[t].item<int64_t>()) *
                          rope.inverse_frequencies()[i].item<float>();
      const double c = std::cos(static_cast<double>(angle));
      const double s = std::sin(static_cast<double>(angle));
      const double a = x[1][2][t][i].item<double>();
      const double b = x[1][2][t][i + 5].item<double>();
      EXPECT_NEAR(y[1][2][t][i].item<double>(), a * c - b * s, 1e-5 * (1 + std::abs(a)));
      EXPECT_NEAR(y[1][2][t][i + 5].item<double>(), b * c + a * s, 1e-5 * (1 + std::abs(b)));
    }
  }
}

TEST(Rope, TheOwnKernelsEqualTheGeneralPathInEveryDtype) {
  RopeConfig config;
  config.head_dim = 24;
  const Rope rope(config);
  at::manual_seed(4);
  const Tensor x = at::randn({2, 3, 7, 24}, at::kDouble).pow(3);
  const Tensor positions = at::arange(100, 107);
  const Tensor expected = rotate(x, rope.table(positions, at::kDouble));  // the general path
  const Tensor narrow = rotate(x.to(at::kFloat), rope.table(positions, at::kFloat));
  const Tensor half = rotate(x.to(at::kBFloat16), rope.table(positions, at::kBFloat16));
  const Tensor scale = x.abs().max();
  EXPECT_LT(((narrow - expected).abs().max() / scale).item<double>(), 1e-6);
  EXPECT_LT(((half - expected).abs().max() / scale).item<double>(), 1.0 / 128);
}

TEST(Rope, GradientTurnsBack) {
  RopeConfig config;
  config.head_dim = 8;
  const Rope rope(config);
  const RopeTable table = rope.table(at::arange(4), at::kFloat);
  at::manual_seed(5);
  const Tensor x = at::randn({1, 2, 4, 8}).requires_grad_();
  rotate(x, table).backward(rotate(x, table).detach());
  // A rotation is orthogonal: the gradient of |y|^2 / 2 is x itself.
  EXPECT_LT((x.grad() - x.detach()).abs().max().item<float>(), 1e-6);
}

TEST(Rope, EmptyInputStaysEmpty) {
  RopeConfig config;
  config.head_dim = 8;
  const RopeTable table = Rope(config).table(at::empty({0}, at::kLong), at::kFloat);
  EXPECT_EQ(rotate(at::empty({1, 2, 0, 8}), table).numel(), 0);
}

TEST(Rope, UnknownTypesAndOddWidthsAreRefused) {
  RopeConfig config;
  config.head_dim = 7;
  EXPECT_THROW(Rope{config}, c10::Error);
  config.head_dim = 8;
  config.type = "spiral";
  EXPECT_THROW(Rope{config}, c10::Error);
}

}  // namespace
}  // namespace sterna::kvcache
