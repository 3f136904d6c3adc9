// What every registered activation quantizer promises (quant/act_quantizer.h), over the registry.
#include <set>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/quant/act_support.h"

namespace sterna::quant {
namespace {

/// A name and the fields that it is built with.
struct Variant {
  std::string name;
  std::string fields;
};

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const std::string& name : act_quantizers().names())
    for (const char* levels : {"bits = 8", "bits = 4", "bits = 2"})
      for (const char* more : {"", ", symmetric = false", ", clip_val = 1.5"})
        all.push_back({name, std::string(levels) + more});
  return all;
}

class ActContract : public ::testing::TestWithParam<Variant> {
 protected:
  /// Trained where it learns, so that what it has learned is used.
  static std::shared_ptr<ActQuantizer> make() {
    auto act = make_act(GetParam().name, GetParam().fields);
    train_on(*act, input());
    return act;
  }
  static Tensor input() { return heavy({3, 5, 40}, 7); }
};

std::set<float> values_of(const Tensor& t) {
  const Tensor flat = t.contiguous().flatten();
  const float* p = flat.const_data_ptr<float>();
  return {p, p + flat.numel()};
}

TEST_P(ActContract, KeepsShapeAndDtype) {
  const auto act = make();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{8}, {0, 8}, {2, 0, 8}, {1, 1}, {2, 3, 4, 17}}) {
      const Tensor x = normal(shape, 3).to(dtype);
      const Tensor y = act->forward(x);
      EXPECT_EQ(y.sizes(), x.sizes());
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_EQ(act->backward(x, at::ones_like(x)).sizes(), x.sizes());
    }
  }
}

TEST_P(ActContract, NoScaleServesMoreThanLevelsDifferentValues) {
  const auto act = make();
  EXPECT_LE(act->levels(), int64_t{1} << act->bits());
  const Tensor y = act->forward(heavy({6, 4000}, 1));
  for (int64_t row = 0; row < y.size(0); ++row)
    EXPECT_LE(static_cast<int64_t>(values_of(y[row]).size()), act->levels());
  EXPECT_GT(values_of(y).size(), 1u);
}

TEST_P(ActContract, RoundingWhatIsRoundedChangesNothingButTheLastBits) {
  const auto act = make();
  const Tensor once = act->forward(input());
  const Tensor twice = act->forward(once);
  EXPECT_LT(error(twice, once), 1e-6);
}

TEST_P(ActContract, AValueIsTheNearestLevelOfWhatWasClipped) {
  const auto act = make();
  const Tensor x = input().view({15, 40});
  const Tensor y = act->forward(x);
  for (int64_t row = 0; row < x.size(0); ++row) {
    const std::set<float> found = values_of(y[row]);
    const Tensor levels = at::tensor(std::vector<float>(found.begin(), found.end()));
    const Tensor nearest = (x[row].unsqueeze(1) - levels).abs().amin(1);
    EXPECT_LT(largest((x[row] - y[row]).abs() - nearest), 1e-5 * largest(x[row])) << row;
  }
}

TEST_P(ActContract, ZerosStayZerosWithFiniteGradients) {
  const auto act = make();
  const Tensor x = at::zeros({2, 3, 8});
  const Tensor y = act->forward(x);
  EXPECT_EQ(largest(y), 0.0);
  EXPECT_TRUE(at::equal(act->backward(x, at::ones_like(x)), at::ones_like(x)));
}

TEST_P(ActContract, NaNStaysNaN) {
  const auto act = make();
  Tensor x = normal({4, 24}, 5);
  x[2][13] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(act->forward(x)[2][13].isnan().item<bool>());
}

TEST_P(ActContract, NeitherThreadsNorStridesChangeABit) {
  const auto act = make();
  const Tensor x = heavy({64, 3000}, 9);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor one = act->forward(x);
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(act->forward(x), one));
  at::set_num_threads(threads);
  const Tensor strided = x.t().contiguous().t();
  EXPECT_FALSE(strided.is_contiguous());
  EXPECT_TRUE(at::equal(act->forward(strided), one));
}

TEST_P(ActContract, BackwardIsLinearAndPassesWhereNothingIsClipped) {
  const auto act = make();
  const Tensor x = input();
  const Tensor g = normal(x.sizes(), 11);
  const Tensor h = normal(x.sizes(), 12);
  const Tensor back = act->backward(x, g);
  EXPECT_LT(error(act->backward(x, 2.0 * g - h), 2.0 * back - act->backward(x, h)), 1e-6);
  EXPECT_TRUE(at::logical_or(back == g, back == 0).all().item<bool>());
  EXPECT_TRUE(act->masks_gradient() || at::equal(back, g));
  // Twin: where the rounded value still grows with x, and only there, gradients pass.
  const Tensor small = 0.1 * at::ones({1, 8});
  EXPECT_TRUE(at::equal(act->backward(small, at::ones({1, 8})), at::ones({1, 8})));
}

TEST_P(ActContract, UnderAutogradItsGradientIsBackwards) {
  const auto act = make();
  const Tensor x = input().requires_grad_();
  const Tensor g = normal(x.sizes(), 11);
  const Tensor y = fake_quantize(act, x);
  EXPECT_TRUE(at::equal(y.detach(), act->forward(x.detach())));
  y.backward(g);
  EXPECT_TRUE(at::equal(x.grad(), act->backward(x.detach(), g)));
}

TEST_P(ActContract, WhatItLearnedIsAllInItsBuffers) {
  const auto act = make();
  const auto other = make_act(GetParam().name, GetParam().fields);
  const auto from = act->buffers();
  const auto to = other->buffers();
  ASSERT_EQ(from.size(), to.size());
  EXPECT_EQ(act->learns(), !from.empty());
  EXPECT_EQ(other->ready(), from.empty());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    EXPECT_EQ(from[i].tensor.scalar_type(), at::kFloat);
    Tensor(to[i].tensor).copy_(from[i].tensor);
  }
  EXPECT_TRUE(other->ready());
  const Tensor x = normal({4, 24}, 5);
  EXPECT_TRUE(at::equal(other->forward(x), act->forward(x)));
}

TEST_P(ActContract, OnlyTheEndOfAStepChangesWhatItDoes) {
  const auto act = make();
  const Tensor x = normal({4, 24}, 5);
  const Tensor before = act->forward(x);
  act->start_step();
  act->forward(100 * x);
  EXPECT_TRUE(at::equal(act->forward(x), before)) << "in the midst of a step";
  act->start_step();  // the step was dropped
  act->end_step(act->seen());
  EXPECT_TRUE(at::equal(act->forward(x), before)) << "a step that saw nothing";
}

INSTANTIATE_TEST_SUITE_P(Registry,
                         ActContract,
                         ::testing::ValuesIn(variants()),
                         [](const auto& given) {
                           std::string name = given.param.name + "_" + given.param.fields;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace sterna::quant
