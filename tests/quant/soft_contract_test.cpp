// The promises in quant/soft_quantizer.h, checked for every registered one with every choice of its
// fields, as quantizer_contract_test.cpp does for all quantizers.

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "quant/soft_quantizer.h"
#include "tests/quant/configurations.h"

namespace sterna::quant {
namespace {

/// Those that training sees in another way than everybody else does.
std::vector<Configured> soft_ones() {
  std::vector<Configured> result;
  for (const Configured& c : configurations())
    if (soft(make(c.name, c.fields).get()) != nullptr)
      result.push_back(c);
  return result;
}

class SoftQuantizerContract : public QuantizerContract {
 protected:
  static constexpr int64_t kSteps = 10;

  std::unique_ptr<SoftQuantizer> create() const {
    return std::unique_ptr<SoftQuantizer>(soft(QuantizerContract::create().release()));
  }

  static Tensor value(const SoftQuantizer& quantizer, const Tensor& w, int64_t step) {
    const Tensor soft = quantizer.soft_value(w, {step, kSteps});
    return soft.defined() ? soft : decode(quantizer.encode(w));
  }
};

TEST_P(SoftQuantizerContract, TheValueTurnsHardWithTheEndOfTheTraining) {
  const Tensor w = weight();
  const Tensor g = heavy({8, 192}, 8);
  const auto quantizer = create();
  quantizer->init(w);
  const Tensor hard = decode(quantizer->encode(w));
  EXPECT_TRUE(at::equal(value(*quantizer, w, kSteps), hard));
  EXPECT_TRUE(
      at::equal(quantizer->soft_backward(w, g, {kSteps, kSteps}).w, quantizer->backward(w, g).w));
  quantizer->advance(w, {kSteps, kSteps});
  EXPECT_TRUE(at::equal(decode(quantizer->encode(w)), hard));
}

TEST_P(SoftQuantizerContract, LookingMovesNothingAndASoftValueDoesNotReachTheCodes) {
  const Tensor w = weight();
  const auto quantizer = create();
  quantizer->init(w);
  const Tensor hard = decode(quantizer->encode(w));
  for (int64_t step = 0; step < kSteps; ++step) {
    const Tensor first = value(*quantizer, w, step);
    EXPECT_TRUE(at::equal(value(*quantizer, w, step), first));
    EXPECT_TRUE(at::equal(decode(quantizer->encode(w)), hard));
  }
}

TEST_P(SoftQuantizerContract, AnAllZeroRowOrMatrixGivesFiniteValuesAndGradients) {
  const Tensor g = heavy({8, 192}, 8);
  for (const Tensor& w : {weight(), at::zeros({8, 192})}) {
    const auto quantizer = create();
    quantizer->init(w);
    for (int64_t step = 0; step < kSteps; ++step) {
      EXPECT_TRUE(value(*quantizer, w, step).isfinite().all().item<bool>());
      const Gradients back = quantizer->soft_backward(w, g, {step, kSteps});
      EXPECT_TRUE(back.w.isfinite().all().item<bool>());
      quantizer->advance(w, {step, kSteps});
    }
    EXPECT_TRUE(decode(quantizer->encode(w)).isfinite().all().item<bool>());
  }
}

TEST_P(SoftQuantizerContract, SomeRowsAloneGiveTheSameRowsOfTheWholeWhereItSaysSo) {
  const Tensor w = weight();
  const Tensor g = heavy({8, 192}, 8);
  const auto cut = [](const Tensor& t) { return t.narrow(0, 2, 5).contiguous(); };
  const auto whole = create();
  if (!whole->by_row(192))
    return;
  const auto part = create();
  whole->init(w);
  part->init(cut(w));
  for (const int64_t step : {0, 4, 9}) {
    EXPECT_TRUE(at::equal(value(*part, cut(w), step), cut(value(*whole, w, step)))) << step;
    EXPECT_TRUE(at::equal(part->soft_backward(cut(w), cut(g), {step, kSteps}).w,
                          cut(whole->soft_backward(w, g, {step, kSteps}).w)))
        << step;
    whole->advance(w, {step, kSteps});
    part->advance(cut(w), {step, kSteps});
  }
}

TEST_P(SoftQuantizerContract, SoftBackwardIsLinearInTheGradient) {
  const Tensor w = weight();
  const auto quantizer = create();
  quantizer->init(w);
  const Tensor g1 = heavy({8, 192}, 11);
  const Tensor g2 = heavy({8, 192}, 12);
  for (const int64_t step : {0, 4, 9}) {
    const auto back = [&](const Tensor& g) {
      return quantizer->soft_backward(w, g, {step, kSteps}).w;
    };
    EXPECT_LT(error(back(g1 * 2 - g2 * 0.5), back(g1) * 2 - back(g2) * 0.5), 1e-5);
  }
}

TEST_P(SoftQuantizerContract, NothingSoftDependsOnTheNumberOfThreads) {
  const Tensor w = heavy({67, 192}, 9);
  const Tensor g = heavy({67, 192}, 10);
  const int before = at::get_num_threads();
  std::vector<Tensor> results[2];
  for (int round = 0; round < 2; ++round) {
    at::set_num_threads(round == 0 ? 1 : 3);
    const auto quantizer = create();
    quantizer->init(w);
    results[round] = {value(*quantizer, w, 5), quantizer->soft_backward(w, g, {5, kSteps}).w};
    quantizer->advance(w, {5, kSteps});
    for (const auto& [name, t] : quantizer->buffers())
      results[round].push_back(t);
  }
  at::set_num_threads(before);
  for (size_t i = 0; i < results[0].size(); ++i)
    EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << "result " << i;
}

TEST_P(SoftQuantizerContract, GoesOnFromItsBuffersAsIfNothingHadHappened) {
  Tensor w = weight();
  const Tensor g = heavy({8, 192}, 8);
  const auto straight = create();
  straight->init(w);
  for (const int64_t step : {0, 1, 2}) {
    straight->advance(w, {step, kSteps});
    w = w * 0.97;
  }
  const auto resumed = create();
  resumed->allocate(w);
  for (size_t i = 0; i < straight->buffers().size(); ++i)
    resumed->buffers()[i].tensor.copy_(straight->buffers()[i].tensor);
  for (const int64_t step : {3, 7}) {
    EXPECT_TRUE(at::equal(value(*resumed, w, step), value(*straight, w, step)));
    EXPECT_TRUE(at::equal(resumed->soft_backward(w, g, {step, kSteps}).w,
                          straight->soft_backward(w, g, {step, kSteps}).w));
    resumed->advance(w, {step, kSteps});
    straight->advance(w, {step, kSteps});
    EXPECT_TRUE(at::equal(decode(resumed->encode(w)), decode(straight->encode(w))));
    w = w * 0.97;
  }
}

TEST_P(SoftQuantizerContract, EmptyMatricesPass) {
  for (const auto& shape : {std::vector<int64_t>{0, 192}, {4, 0}, {0, 0}}) {
    const Tensor w = at::zeros(shape);
    const auto quantizer = create();
    quantizer->init(w);
    EXPECT_EQ(value(*quantizer, w, 5).sizes(), w.sizes());
    EXPECT_EQ(quantizer->soft_backward(w, w, {5, kSteps}).w.sizes(), w.sizes());
    quantizer->advance(w, {5, kSteps});
  }
}

INSTANTIATE_TEST_SUITE_P(Registered,
                         SoftQuantizerContract,
                         testing::ValuesIn(soft_ones()),
                         test_name);

}  // namespace
}  // namespace sterna::quant
