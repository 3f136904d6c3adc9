// Differentiable k-means: worked by hand, against the map held whole in autograd, and in memory.

#include <cmath>

#include <gtest/gtest.h>

#include "quant/soft_means.h"
#include "quant/soft_quantizer.h"
#include "tests/quant/quantizer_support.h"
#include "tests/quant/twins.h"
#include "tests/support/memory.h"

namespace sterna::quant {
namespace {

constexpr Progress kMidway{5, 10};

Uniques uniques_of(const Tensor& w) {
  return {w.const_data_ptr<float>(), w.numel()};
}

Tensor buffer(Quantizer& quantizer) {
  return quantizer.buffers().at(0).tensor;
}

TEST(Uniques, AreTheBf16ValuesInOrderWithTheirCounts) {
  // 1.001 is nearer to bf16's 1 than to 1.0078125; -0.5 and 3 are exact.
  const Tensor w = at::tensor({3.0f, 1.0f, -0.5f, 1.001f, 3.0f, 3.0f, 0.0f});
  const Uniques unique = uniques_of(w);
  EXPECT_EQ(unique.values, (std::vector<double>{-0.5, 0, 1, 3}));
  EXPECT_EQ(unique.counts, (std::vector<double>{1, 1, 2, 3}));
  EXPECT_EQ(unique.index(1.001f), 2u);
  EXPECT_NEAR(unique.mean_abs(), (0.5 + 2 + 9) / 7, 1e-12);
}

TEST(Uniques, OfAMatrixAreThoseOfItsOneRun) {
  const Tensor w = heavy({13, 96}, 1);
  const Uniques whole(w.const_data_ptr<float>(), Groups("test", w, -1));
  const Uniques run = uniques_of(w);
  EXPECT_EQ(whole.values, run.values);
  EXPECT_EQ(whole.counts, run.counts);
  for (int64_t i = 0; i < w.numel(); ++i)
    ASSERT_EQ(whole.index(w.const_data_ptr<float>()[i]), run.index(w.const_data_ptr<float>()[i]));
}

TEST(Uniques, OfAMillionWeightsAreFew) {
  const Tensor w = normal({1024, 1024}, 2).mul_(0.02);
  EXPECT_LT(Uniques(w.const_data_ptr<float>(), Groups("test", w, -1)).size(), 8192);
}

// Both weights below zero are at -1 for all that a temperature of 0.05 can tell, both above at 1:
// c = (-1 - 0.8) / 2 and (0.7 + 1.1) / 2.
TEST(SoftMeans, OneIterationByHand) {
  const Tensor w = at::tensor({-1.0f, -0.8f, 0.7f, 1.1f});
  const Uniques unique = uniques_of(w);
  const SoftMeans means(unique, {-1, 1}, {0.05, 1, 0});
  EXPECT_NEAR(means.centroids()[0], -0.9, 2e-3);  // bf16's 0.8, 0.7 and 1.1
  EXPECT_NEAR(means.centroids()[1], 0.9, 2e-3);
  const std::vector<float> values = means.values();
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(values[i], i < 2 ? -0.9 : 0.9, 2e-3);
}

TEST(SoftMeans, EndsWhenNoCentroidMovesFurtherThanTheTolerance) {
  const Tensor w = normal({1, 500}, 3);
  const Uniques unique = uniques_of(w);
  const SoftMeans once(unique, {-1, 0.5}, {0.2, 1, 0});
  EXPECT_EQ(SoftMeans(unique, {-1, 0.5}, {0.2, 50, 1e3}).centroids(), once.centroids());
  const SoftMeans all(unique, {-1, 0.5}, {0.2, 500, 1e-9});
  EXPECT_NE(all.centroids(), once.centroids());
  const SoftMeans again(unique, all.centroids(), {0.2, 1, 0});
  EXPECT_NEAR(again.centroids()[0], all.centroids()[0], 1e-9);
}

TEST(HardMeans, AsManyCentroidsAsValuesMissNothing) {
  const Tensor w = at::tensor({-2.0f, 0.5f, 0.5f, 1.0f, 4.0f, -2.0f});
  EXPECT_EQ(hard_means(uniques_of(w), 4), (Centroids{-2, 0.5, 1, 4}));
}

// J. Max (1960): the best four levels of a Gaussian are +-0.4528 and +-1.510, error 0.1175.
TEST(HardMeans, OfAGaussianAreItsBestLevels) {
  const Tensor w = normal({1000, 1000}, 4);
  const auto dkm = make("dkm", "scale_dtype = \"fp32\"");
  const double missed = (fake_quant(*dkm, w) - w).square().mean().item<double>();
  EXPECT_NEAR(missed, 0.1175, 0.0012);
  const Tensor centroids = buffer(*dkm)[0];
  EXPECT_NEAR(centroids[3].item<double>(), 1.510, 0.015);
  EXPECT_NEAR(centroids[2].item<double>(), 0.4528, 0.01);
}

/// Soft k-means with the whole map, one row a weight, all of it in the graph; straight through the
/// rounding to bf16.
Tensor soft_means(const Tensor& x, const Tensor& start, double temperature, int64_t times) {
  const Tensor rounded = x.to(at::kBFloat16).to(x.scalar_type());
  const Tensor u = twins::straight_through(x, rounded).unsqueeze(1);
  Tensor centroids = start;
  Tensor map;
  for (int64_t i = 0; i < times; ++i) {
    map = ((u - centroids).abs() / -temperature).softmax(1);
    centroids = (map * u).sum(0) / map.sum(0);
  }
  return map.matmul(centroids);
}

struct Case {
  int64_t bits;
  int64_t group;
  double temperature;
  int64_t iterations;
};

/// Value and gradient of every codebook by autograd in fp64.
struct TwinResult {
  Tensor value;
  Tensor gradient;
};

TwinResult twin(const Tensor& w, const Tensor& g, const Tensor& start, const Case& c) {
  const int64_t length = c.group < 0 ? w.numel() : c.group == 0 ? w.size(1) : c.group;
  const Tensor x = w.reshape({-1, length}).to(at::kDouble).requires_grad_();
  std::vector<Tensor> rows;
  for (int64_t book = 0; book < x.size(0); ++book) {
    const double unit =
        w.view({-1, length})[book].to(at::kBFloat16).to(at::kDouble).abs().mean().item<double>();
    rows.push_back(
        soft_means(x[book], start[book].to(at::kDouble), c.temperature * unit, c.iterations));
  }
  const Tensor value = at::stack(rows).view(w.sizes());
  (value * g).sum().backward();
  return {value.detach(), x.grad().view(w.sizes())};
}

TEST(Dkm, ValuesAndGradientsEqualThoseOfTheWholeMapInAutograd) {
  for (const Case& c : {Case{1, -1, 0.1, 1},
                        Case{2, -1, 0.1, 5},
                        Case{2, -1, 0.5, 3},
                        Case{3, 0, 0.2, 4},
                        Case{4, 32, 0.3, 5},
                        Case{4, -1, 0.02, 5}}) {
    const Tensor w = heavy({6, 96}, 3);
    const Tensor g = heavy({6, 96}, 4);
    const auto dkm = make("dkm",
                          "tolerance = 0.0, bits = " + std::to_string(c.bits) +
                              ", group = " + std::to_string(c.group) +
                              ", temperature = " + std::to_string(c.temperature) +
                              ", iterations = " + std::to_string(c.iterations));
    dkm->init(w);
    buffer(*dkm).add_(normal(buffer(*dkm).sizes(), 5).mul_(0.05));  // not converged
    const TwinResult expected = twin(w, g, buffer(*dkm), c);
    const std::string where = "bits " + std::to_string(c.bits) + " group " +
                              std::to_string(c.group) + " temperature " +
                              std::to_string(c.temperature);
    EXPECT_LT(error(soft(dkm.get())->soft_value(w, kMidway), expected.value), 1e-6) << where;
    EXPECT_LT(error(soft(dkm.get())->soft_backward(w, g, kMidway).w, expected.gradient), 1e-5)
        << where;
  }
}

TEST(Dkm, AdvancingCarriesTheCentroidsToTheEndOfTheIterations) {
  const Tensor w = heavy({6, 96}, 3);
  const auto dkm = make("dkm", "tolerance = 0.0");
  dkm->init(w);
  const Tensor before = buffer(*dkm).clone();
  const Uniques unique = uniques_of(w);
  const float* from = before.const_data_ptr<float>();
  const SoftMeans means(unique, Centroids(from, from + 4), {0.1 * unique.mean_abs(), 5, 0});
  soft(dkm.get())->advance(w, kMidway);
  for (int64_t j = 0; j < 4; ++j)
    EXPECT_EQ(buffer(*dkm)[0][j].item<float>(), static_cast<float>(means.centroids()[j]));
  EXPECT_FALSE(at::equal(buffer(*dkm), before));
}

TEST(Dkm, EncodesTheNearestCentroidByATableOfLevels) {
  const Tensor w = heavy({6, 96}, 3);
  for (const int64_t group : {-1, 0, 32}) {
    const auto dkm = make("dkm", "bits = 3, group = " + std::to_string(group));
    const Tensor wq = fake_quant(*dkm, w);
    const Encoded e = dkm->encode(w);
    EXPECT_EQ(e.grid, Grid::kLevels);
    const int64_t books = group < 0 ? 1 : group == 0 ? 6 : 18;
    EXPECT_EQ(buffer(*dkm).sizes(), (at::IntArrayRef{books, 8}));
    const Tensor centroids = buffer(*dkm).to(at::kBFloat16).to(at::kFloat);
    const Tensor own = centroids.repeat_interleave(w.numel() / books, 0).view({6, 96, 8});
    const Tensor least = (w.unsqueeze(-1) - own).abs().amin(-1);
    EXPECT_LE(largest((wq - w).abs() - least), 1e-6);
  }
}

TEST(Dkm, ATableForEveryGroupCountsInItsBits) {
  const Tensor w = heavy({8, 64}, 3);
  const auto bits = [&](const std::string& fields) {
    const auto dkm = make("dkm", fields);
    dkm->init(w);
    return bits_per_weight(dkm->encode(w));
  };
  // As an export writes them: levels and which row of them in fp32, and the scale.
  EXPECT_NEAR(bits("group = 0"), 2 + (4 * 32 + 32 + 16) / 64.0, 1e-9);
  EXPECT_NEAR(bits("group = 32, bits = 1, scale_dtype = \"fp32\""), 1 + 4 * 32 / 32.0, 1e-9);
  EXPECT_NEAR(bits("bits = 4"), 4 + 16.0 / 512, 1e-9);
}

TEST(Dkm, NeedsAHundredthOfTheMemoryOfTheWholeMap) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "this kernel or build does not tell the peak of memory";
  const Tensor w = normal({1024, 1024}, 2).mul_(0.02);
  const Tensor g = normal({1024, 1024}, 3);
  const auto dkm = make("dkm", "bits = 3, tolerance = 0.0");
  dkm->init(w);
  const auto of_table = [&] {
    const tests::PeakMemory peak;
    const Tensor value = soft(dkm.get())->soft_value(w, kMidway);
    const Tensor dw = soft(dkm.get())->soft_backward(w, g, kMidway).w;
    return peak.bytes() - static_cast<int64_t>(value.nbytes() + dw.nbytes());
  }();
  const auto of_map = [&] {
    const tests::PeakMemory peak;
    const Tensor x = w.view(-1).detach().requires_grad_();
    const Tensor value = soft_means(x, buffer(*dkm)[0], 0.1 * 0.016, 5);
    (value * g.view(-1)).sum().backward();
    return peak.bytes() - static_cast<int64_t>(value.nbytes() + x.grad().nbytes());
  }();
  RecordProperty("table_bytes", std::to_string(of_table));
  RecordProperty("map_bytes", std::to_string(of_map));
  EXPECT_GT(of_map, 300 << 20);  // two matrices [1M, 8] an iteration at the least
  EXPECT_LT(of_table * 100, of_map) << of_table << " bytes against " << of_map;
}

}  // namespace
}  // namespace sterna::quant
