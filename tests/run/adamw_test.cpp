#include "trainer/run/adamw.h"

#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "trainer/run/optimizer.h"

namespace sterna::run {
namespace {

Tensor heavy(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed)).pow(3);
}

Trained make(const std::string& name, int64_t n, uint64_t seed) {
  Trained t;
  t.name = name;
  t.value = heavy({n}, seed);
  t.grad = heavy({n}, seed + 1);
  return t;
}

/// The formula in fp64.
Tensor expected(const Trained& t, const AdamConfig& c, double lr, double factor, int steps) {
  Tensor w = t.value.to(at::kDouble);
  const Tensor g = t.grad.to(at::kDouble) * factor;
  Tensor m = at::zeros_like(w);
  Tensor v = at::zeros_like(w);
  for (int i = 1; i <= steps; ++i) {
    w = w * (1 - lr * (t.decays ? c.weight_decay : 0.0));
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    const Tensor mean = m / (1 - std::pow(c.beta1, i));
    const Tensor root = (v / (1 - std::pow(c.beta2, i))).sqrt();
    w = w - lr * mean / (root + c.eps);
  }
  return w;
}

// Sizes that do not divide by a vector, nor by the chunk of one thread.
constexpr int64_t kSizes[] = {1, 7, 32768 + 5};

TEST(AdamW, FollowsTheFormulaForWeightsAndQuantizerParameters) {
  const AdamConfig config{0.9, 0.95, 1e-8, 0.1};
  Optimizer optimizer(config, /*clip=*/0);
  std::vector<Trained> tensors;
  for (const int64_t n : kSizes) {
    tensors.push_back(make("w" + std::to_string(n), n, 10 + n));
    tensors.back().decays = true;
    tensors.push_back(make("s" + std::to_string(n), n, 20 + n));
    tensors.back().quantizer = true;
  }
  std::vector<Tensor> wanted;
  for (const Trained& t : tensors)
    wanted.push_back(expected(t, config, t.quantizer ? 3e-3 : 1e-2, 1.0, 3));
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(optimizer.apply(tensors, {1e-2, 3e-3}).applied);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const double apart = (tensors[i].value.to(at::kDouble) - wanted[i]).abs().max().item<double>();
    EXPECT_LT(apart, 1e-6 * (1 + wanted[i].abs().max().item<double>())) << tensors[i].name;
  }
}

TEST(AdamW, ClipsByTheNormOfAllTensorsTogether) {
  const AdamConfig config{0.9, 0.95, 1e-8, 0.0};
  std::vector<Trained> tensors{make("a", 50, 1), make("b", 70, 2)};
  const double norm =
      std::sqrt((tensors[0].grad.square().sum() + tensors[1].grad.square().sum()).item<double>());
  // AdamW forgets the scale of a constant gradient; only eps of its size shows the factor.
  AdamConfig loud = config;
  loud.eps = 1.0;
  const Tensor wanted = expected(tensors[1], loud, 0.1, 0.5 / norm, 2);
  Optimizer optimizer(loud, /*clip=*/0.5);
  for (int i = 0; i < 2; ++i)
    EXPECT_NEAR(optimizer.apply(tensors, {0.1, 0.1}).grad_norm, norm, 1e-5 * norm);
  EXPECT_LT((tensors[1].value - wanted).abs().max().item<double>(), 1e-6);
}

TEST(AdamW, AnInfiniteGradientMovesNothingAndIsNamed) {
  std::vector<Trained> tensors{make("good", 50, 1), make("bad", 70, 2)};
  tensors[1].grad[69] = INFINITY;
  const Tensor before = tensors[0].value.clone();
  Optimizer optimizer({}, 1.0);
  const Outcome outcome = optimizer.apply(tensors, {0.1, 0.1});
  EXPECT_FALSE(outcome.applied);
  EXPECT_EQ(outcome.bad_tensor, "bad");
  EXPECT_TRUE(at::equal(tensors[0].value, before));
  EXPECT_EQ(optimizer.applied(), 0);  // bias correction counts applied steps only
}

TEST(AdamW, GivesTheSameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<Tensor> results;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    std::vector<Trained> tensors{make("a", 3 * 32768 + 11, 5)};
    Optimizer optimizer({}, 0.01);
    optimizer.apply(tensors, {0.1, 0.1});
    results.push_back(tensors[0].value);
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

TEST(AdamW, AcceptsNothingToTrain) {
  std::vector<Trained> none;
  Optimizer optimizer({}, 1.0);
  EXPECT_TRUE(optimizer.apply(none, {0.1, 0.1}).applied);
}

}  // namespace
}  // namespace sterna::run
