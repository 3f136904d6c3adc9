// GPTQ: against an oracle that inverts the remaining Hessian at every input, and against rounding
// to nearest.

#include "quant/gptq.h"

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "recipes/user_error.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

/// x^T x of inputs that share a few directions, some larger than others.
Tensor hessian(int64_t k, uint64_t seed) {
  const Tensor mix = normal({8, k}, seed);
  const Tensor loud = normal({1, k}, seed + 1).exp();
  const Tensor x = (normal({256, 8}, seed + 2).mm(mix) + normal({256, k}, seed + 3) * 0.3) * loud;
  return x.t().mm(x).to(at::kDouble);
}

/// Sum of squares of (w - wq) x over the calibration inputs.
double output_error(const Tensor& w, const Tensor& wq, const Tensor& h) {
  const Tensor d = (w - wq).to(at::kDouble);
  return (d.mm(h) * d).sum().item<double>();
}

/// Codes of optimal brain quantization in a given order of inputs: after each input the others move
/// by the least-squares answer to its error, from the inverse of what remains of the Hessian.
Tensor oracle(const Tensor& w, const Encoded& grid, int64_t levels, Tensor h, const Tensor& order) {
  const int64_t k = w.size(1);
  h = h.clone();
  h.diagonal().add_(h.diagonal().mean() * 0.01);
  Tensor x = w.to(at::kDouble).clone();
  Tensor codes = at::zeros({w.size(0), k}, at::kChar);
  for (int64_t step = 0; step < k; ++step) {
    const Tensor left = order.slice(0, step, k);
    const Tensor inverse = at::linalg_inv(h.index_select(0, left).index_select(1, left));
    const int64_t j = left[0].item<int64_t>();
    const int64_t at = grid.scales.numel() == 1 ? 0 : j / grid.group;
    const Tensor scale = grid.scales.select(1, at).to(at::kDouble);
    const Tensor zero = grid.zeros.defined() ? grid.zeros.select(1, at).to(at::kDouble)
                                             : at::full_like(scale, grid.offset);
    const auto lo = static_cast<double>(grid.code_min);
    const Tensor code =
        (x.select(1, j) / scale + zero).round().clamp(lo, lo + static_cast<double>(levels - 1));
    codes.select(1, j).copy_(code);
    const Tensor error = x.select(1, j) - (code - zero) * scale;
    const Tensor move = error.unsqueeze(1) * inverse[0].unsqueeze(0) / inverse[0][0];
    x.index_add_(1, left, -move);
  }
  return codes;
}

TEST(Gptq, GivesTheCodesOfTheOracle) {
  const Tensor w = heavy({5, 48}, 1);
  const Tensor h = hessian(48, 2);
  for (const char* name : {"minmax_asym", "minmax_sym", "lsq", "balanced2"})
    for (const char* group : {"0", "16", "-1"})
      for (const bool by_activation : {false, true}) {
        const auto quantizer = make(name, std::string("group = ") + group);
        quantizer->init(w);
        const Encoded grid = quantizer->encode(w);
        GptqOrder how;
        how.by_activation = by_activation;
        how.block = 20;
        const Tensor order =
            by_activation ? at::argsort(h.diagonal(), true, 0, true) : at::arange(48, at::kLong);
        const Tensor expected = oracle(w, grid, quantizer->max_levels(), h, order);
        const Encoded found = gptq(w, grid, quantizer->max_levels(), h, how);
        EXPECT_TRUE(at::equal(found.codes, expected)) << name << " " << group << by_activation;
        EXPECT_TRUE(at::equal(found.scales, grid.scales));
      }
}

TEST(Gptq, MissesTheOutputsLessThanRoundingToNearestOnEveryGrid) {
  const Tensor w = heavy({16, 128}, 3);
  const Tensor h = hessian(128, 4);
  for (const std::string& name : quantizers().names())
    for (const bool by_activation : {false, true}) {
      const auto quantizer = quantizers().make_default(name);
      quantizer->init(w);
      const Encoded nearest = quantizer->encode(w);
      GptqOrder how;
      how.by_activation = by_activation;
      const Encoded found = gptq(w, nearest, quantizer->max_levels(), h, how);
      EXPECT_LT(output_error(w, decode(found), h), 0.9 * output_error(w, decode(nearest), h))
          << name << by_activation;
      const Tensor codes = found.codes.to(at::kInt) - nearest.code_min;
      EXPECT_GE(codes.min().item<int64_t>(), 0) << name;
      EXPECT_LT(codes.max().item<int64_t>(), quantizer->max_levels()) << name;
    }
}

TEST(Gptq, OnUncorrelatedInputsIsRoundingToNearest) {
  const Tensor w = heavy({8, 64}, 5);
  const Tensor h = at::diag(at::rand({64}, at::make_generator<at::CPUGeneratorImpl>(6)) + 0.1);
  for (const char* name : {"minmax_asym", "minmax_sym", "nf", "nf3_sided", "dint"}) {
    const auto quantizer = make(name, "group = 32");
    const Encoded nearest = quantizer->encode(w);
    EXPECT_TRUE(at::equal(gptq(w, nearest, quantizer->max_levels(), h).codes, nearest.codes))
        << name;
  }
}

TEST(Gptq, TheBlockChangesNothing) {
  const Tensor w = heavy({4, 96}, 7);
  const Tensor h = hessian(96, 8);
  const auto quantizer = make("minmax_asym", "bits = 3, group = 32");
  const Encoded nearest = quantizer->encode(w);
  const auto codes = [&](int64_t block) {
    GptqOrder how;
    how.block = block;
    return gptq(w, nearest, quantizer->max_levels(), h, how).codes;
  };
  for (const int64_t block : {1, 7, 96, 1000})
    EXPECT_TRUE(at::equal(codes(block), codes(128))) << block;
}

TEST(Gptq, AnInputThatIsAlwaysZeroIsRoundedToNearest) {
  const Tensor w = heavy({4, 32}, 9);
  Tensor h = hessian(32, 10);
  h.select(0, 5).zero_();
  h.select(1, 5).zero_();
  const auto quantizer = make("minmax_sym");
  const Encoded nearest = quantizer->encode(w);
  const Encoded found = gptq(w, nearest, quantizer->max_levels(), h);
  EXPECT_TRUE(at::equal(found.codes.select(1, 5), nearest.codes.select(1, 5)));
  const Encoded none = gptq(w, nearest, quantizer->max_levels(), at::zeros({32, 32}));
  EXPECT_TRUE(at::equal(none.codes, nearest.codes));
}

TEST(Gptq, TooFewDirectionsForTheDampingAreTheUsersToMend) {
  const Tensor w = heavy({4, 32}, 11);
  const auto quantizer = make("minmax_sym");
  try {
    gptq(w, quantizer->encode(w), 15, at::full({32, 32}, 2.0f) - at::eye(32));
    ADD_FAILURE() << "accepted";
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("ptq.damp"), std::string::npos) << error.what();
  }
}

TEST(Gptq, RefusesWhatIsNoHessianOfTheMatrix) {
  const Tensor w = heavy({4, 32}, 11);
  const auto quantizer = make("minmax_sym");
  const Encoded nearest = quantizer->encode(w);
  EXPECT_THROW(gptq(w, nearest, 15, at::eye(31)), c10::Error);
  EXPECT_EQ(gptq(at::zeros({0, 32}), quantizer->encode(at::zeros({0, 32})), 15, at::eye(32))
                .codes.numel(),
            0);
}

}  // namespace
}  // namespace sterna::quant
