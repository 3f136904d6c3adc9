// The promises in quant/quantizer.h, checked for every registered quantizer: with its defaults,
// with both ends or every choice of each of its fields, and with each kind of group and scale.
// A new quantizer is covered the moment it is registered; nothing here names one.

#include <set>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/quant/configurations.h"

namespace sterna::quant {
namespace {

/// One scale (or the like) of every weight: [N, K], or [1, 1] where one serves all.
Tensor spread(const Encoded& e, const Tensor& each) {
  return each.repeat_interleave(each.numel() == 1 ? 1 : e.group, 1);
}

/// What decode() is defined as.
Tensor values_of(const Encoded& e) {
  const Tensor scales = spread(e, e.scales);
  if (e.grid == Grid::kAffine) {
    const Tensor zeros =
        e.zeros.defined() ? spread(e, e.zeros) : at::full({1, 1}, e.offset, at::kFloat);
    return (e.codes.to(at::kFloat) - zeros) * scales;
  }
  const Tensor code = e.codes.to(at::kLong) - e.code_min;
  const Tensor row = e.zeros.defined() ? spread(e, e.zeros).to(at::kLong) : at::zeros_like(code);
  const Tensor level = e.levels.view({-1, e.levels.size(-1)}).index({row, code});
  const Tensor below = e.scales_below.defined() ? spread(e, e.scales_below) : scales;
  return level * at::where(level < 0, below, scales);
}

TEST_P(QuantizerContract, DecodesByOneProductInEveryDtype) {
  const Tensor w = weight();
  const auto quantizer = create();
  quantizer->init(w);
  const Encoded e = quantizer->encode(w);
  const Tensor expected = values_of(e);
  EXPECT_TRUE(at::equal(decode(e), expected));
  EXPECT_TRUE(at::equal(decode(e, at::kBFloat16), expected.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(decode(e, at::kHalf), expected.to(at::kHalf)));
}

TEST_P(QuantizerContract, CodesFitTheirBitsAndARowHoldsAtMostMaxLevels) {
  const Tensor w = weight();
  const auto quantizer = create();
  quantizer->init(w);
  const Encoded e = quantizer->encode(w);
  EXPECT_EQ(e.bits, quantizer->bits());
  EXPECT_EQ(e.group, quantizer->group(192) == 0 ? 192 : quantizer->group(192));
  EXPECT_EQ(e.scales.numel() == 1, quantizer->group(192) == 0);
  const Tensor codes = e.codes.to(at::kInt);
  EXPECT_GE(codes.min().item<int64_t>(), e.code_min);
  EXPECT_LT(codes.max().item<int64_t>(), e.code_min + (int64_t{1} << e.bits));
  std::set<int> all;
  for (int64_t row = 0; row < codes.size(0); ++row)
    for (int64_t k = 0; k < codes.size(1); ++k)
      all.insert(codes.const_data_ptr<int>()[row * codes.size(1) + k]);
  EXPECT_LE(static_cast<int64_t>(all.size()), quantizer->max_levels());
}

TEST_P(QuantizerContract, ScalesAreExactInTheirDtype) {
  const Tensor w = weight() * 1e-4;  // below fp16's normal range in places
  const auto quantizer = create();
  quantizer->init(w);
  const Encoded e = quantizer->encode(w);
  for (const Tensor& scales : {e.scales, e.scales_below}) {
    if (!scales.defined())
      continue;
    EXPECT_TRUE(at::equal(scales, scales.to(e.scale_dtype).to(at::kFloat)));
    EXPECT_GT(scales.min().item<float>(), 0.0f);
    if (e.scale_dtype == at::kBFloat16) {
      EXPECT_TRUE(at::equal(scales, scales.to(at::kHalf).to(at::kFloat)));
      EXPECT_GE(scales.min().item<float>(), 0x1p-14f);
    }
  }
  EXPECT_TRUE(decode(e).isfinite().all().item<bool>());
}

TEST_P(QuantizerContract, AnAllZeroRowOrMatrixGivesFiniteValuesAndGradients) {
  for (const Tensor& w : {weight(), at::zeros({8, 192})}) {
    const auto quantizer = create();
    const Tensor wq = fake_quant(*quantizer, w);
    EXPECT_TRUE(wq.isfinite().all().item<bool>());
    const Gradients back = quantizer->backward(w, heavy({8, 192}, 8));
    EXPECT_TRUE(back.w.isfinite().all().item<bool>());
    for (const Tensor& gradient : back.params)
      EXPECT_TRUE(gradient.isfinite().all().item<bool>());
    // A grid with a zero level must use it; one without may be off by its smallest step.
    const Tensor encoded_zero = at::zeros({8, 192});
    const auto other = create();
    EXPECT_LE(largest(fake_quant(*other, encoded_zero)), 1e-4);
  }
}

TEST_P(QuantizerContract, NothingDependsOnTheNumberOfThreads) {
  const Tensor w = heavy({67, 192}, 9);
  const Tensor g = heavy({67, 192}, 10);
  const int before = at::get_num_threads();
  std::vector<Tensor> results[2];
  for (int round = 0; round < 2; ++round) {
    at::set_num_threads(round == 0 ? 1 : 3);
    const auto quantizer = create();
    quantizer->init(w);
    const Encoded e = quantizer->encode(w);
    const Gradients back = quantizer->backward(w, g);
    results[round] = {e.codes, e.scales, decode(e), back.w};
    for (const Tensor& t : {e.zeros, e.scales_below})
      if (t.defined())
        results[round].push_back(t);
    for (const Tensor& t : back.params)
      results[round].push_back(t);
    for (const auto& [name, t] : quantizer->parameters())
      results[round].push_back(t);
  }
  at::set_num_threads(before);
  ASSERT_EQ(results[0].size(), results[1].size());
  for (size_t i = 0; i < results[0].size(); ++i)
    EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << "result " << i;
}

TEST_P(QuantizerContract, BackwardIsLinearInTheGradientAndShapedAsTheParameters) {
  const Tensor w = weight();
  const auto quantizer = create();
  quantizer->init(w);
  const Tensor g1 = heavy({8, 192}, 11);
  const Tensor g2 = heavy({8, 192}, 12);
  const Gradients a = quantizer->backward(w, g1);
  const Gradients b = quantizer->backward(w, g2);
  const Gradients both = quantizer->backward(w, g1 * 2 - g2 * 0.5);
  EXPECT_LT(error(both.w, a.w * 2 - b.w * 0.5), 1e-5);
  const auto parameters = quantizer->parameters();
  ASSERT_EQ(both.params.size(), parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(both.params[i].sizes(), parameters[i].tensor.sizes());
    EXPECT_EQ(parameters[i].tensor.scalar_type(), at::kFloat);
    EXPECT_LE(largest(both.params[i] - (a.params[i] * 2 - b.params[i] * 0.5)),
              1e-5 * std::max(largest(a.params[i]) * 2, largest(b.params[i])));
  }
}

TEST_P(QuantizerContract, ParametersAndBuffersRestoredInPlaceGiveTheSameCodes) {
  const Tensor w = weight();
  const auto first = create();
  first->init(w);
  const auto second = create();
  second->allocate(w);  // no init: what it learned comes from the checkpoint
  const auto copy = [](const std::vector<NamedTensor>& from, const std::vector<NamedTensor>& to) {
    ASSERT_EQ(from.size(), to.size());
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(from[i].name, to[i].name);
      ASSERT_TRUE(to[i].tensor.defined()) << from[i].name;
      ASSERT_EQ(from[i].tensor.sizes(), to[i].tensor.sizes()) << from[i].name;
      at::Tensor target = to[i].tensor;
      target.copy_(from[i].tensor);
    }
  };
  copy(first->parameters(), second->parameters());
  copy(first->buffers(), second->buffers());
  EXPECT_TRUE(at::equal(decode(first->encode(w)), decode(second->encode(w))));
}

TEST_P(QuantizerContract, RowsInAnotherOrderGiveTheSameRowsInThatOrder) {
  const Tensor w = weight();
  const Tensor order = at::tensor({5, 2, 7, 0, 3, 1, 6, 4});
  const auto one = create();
  const auto two = create();
  const Tensor expected = fake_quant(*one, w).index_select(0, order);
  const Tensor found = fake_quant(*two, w.index_select(0, order).contiguous());
  if (one->group(192) != 0)
    EXPECT_TRUE(at::equal(found, expected));
  else
    EXPECT_LT(error(found, expected), 1e-2);  // one shared sum, in another order of rows
}

TEST_P(QuantizerContract, FourTimesTheWeightGivesFourTimesTheValues) {
  const Tensor w = heavy({8, 192}, 14);
  const auto one = create();
  const auto four = create();
  EXPECT_TRUE(at::equal(fake_quant(*four, w * 4), fake_quant(*one, w) * 4));
}

TEST_P(QuantizerContract, EmptyMatricesPass) {
  for (const auto& shape : {std::vector<int64_t>{0, 192}, {4, 0}, {0, 0}}) {
    const Tensor w = at::zeros(shape);
    const auto quantizer = create();
    EXPECT_EQ(fake_quant(*quantizer, w).sizes(), w.sizes());
    EXPECT_EQ(quantizer->backward(w, w).w.sizes(), w.sizes());
  }
}

TEST_P(QuantizerContract, RefusesWhatIsNotAContiguousFp32Matrix) {
  const auto quantizer = create();
  EXPECT_THROW(fake_quant(*quantizer, at::zeros({192})), c10::Error);
  EXPECT_THROW(fake_quant(*quantizer, at::zeros({8, 192}, at::kBFloat16)), c10::Error);
  EXPECT_THROW(fake_quant(*quantizer, at::zeros({192, 8}).t()), c10::Error);
}

TEST_P(QuantizerContract, AGroupThatDoesNotDivideIsRefusedNamingBothSizes) {
  const auto quantizer = create();
  const int64_t group = quantizer->group(192);
  if (group == 0 || group == 192) {
    EXPECT_NO_THROW(fake_quant(*quantizer, at::zeros({3, 209})));
    return;
  }
  try {
    fake_quant(*quantizer, at::zeros({3, 200 + group / 2 + 1}));
    FAIL() << "accepted";
  } catch (const recipes::UserError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find(std::to_string(group)), std::string::npos) << text;
    EXPECT_NE(text.find(std::to_string(200 + group / 2 + 1)), std::string::npos) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Registered,
                         QuantizerContract,
                         testing::ValuesIn(configurations()),
                         test_name);

/// Those that hold a scale of their own instead of taking it from the weight.
std::vector<Configured> learned() {
  std::vector<Configured> result;
  for (const Configured& c : configurations()) {
    const auto quantizer = make(c.name, c.fields);
    quantizer->init(heavy({4, 192}, 1));
    if (!quantizer->parameters().empty())
      result.push_back(c);
  }
  return result;
}

/// Those that say so; a new quantizer does where it has no scale of the whole matrix.
std::vector<Configured> by_row_ones() {
  std::vector<Configured> result;
  for (const Configured& c : configurations())
    if (make(c.name, c.fields)->by_row(192))
      result.push_back(c);
  return result;
}

class ByRowContract : public QuantizerContract {};

TEST_P(ByRowContract, SomeRowsAloneGiveTheSameRowsOfTheWhole) {
  const Tensor w = weight();
  const Tensor g = heavy({8, 192}, 15);
  const auto whole = create();
  whole->init(w);
  const Encoded all = whole->encode(w);
  const Gradients back = whole->backward(w, g);
  for (const auto& [begin, count] :
       {std::pair<int64_t, int64_t>{0, 3}, {3, 1}, {2, 5}, {7, 1}, {8, 0}}) {
    const auto cut = [begin = begin, count = count](const Tensor& t) {
      return t.narrow(0, begin, count).contiguous();
    };
    const auto part = create();
    part->init(cut(w));
    const auto same = [&](const Tensor& found, const Tensor& of_whole, const char* what) {
      ASSERT_EQ(of_whole.size(0), 8) << what;
      EXPECT_TRUE(at::equal(found, cut(of_whole))) << what << " of " << count << " from " << begin;
    };
    const auto learned = part->parameters();
    for (size_t i = 0; i < learned.size(); ++i)
      same(learned[i].tensor, whole->parameters()[i].tensor, learned[i].name.c_str());
    for (size_t i = 0; i < part->buffers().size(); ++i)
      same(part->buffers()[i].tensor, whole->buffers()[i].tensor, "a buffer");
    const Encoded e = part->encode(cut(w));
    same(decode(e), decode(all), "values");
    same(e.codes, all.codes, "codes");
    same(e.scales, all.scales, "scales");
    if (all.zeros.defined())
      same(e.zeros, all.zeros, "zeros");
    if (all.scales_below.defined())
      same(e.scales_below, all.scales_below, "scales below");
    const Gradients own = part->backward(cut(w), cut(g));
    same(own.w, back.w, "dw");
    for (size_t i = 0; i < own.params.size(); ++i)
      same(own.params[i], back.params[i], "what is learned");
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, ByRowContract, testing::ValuesIn(by_row_ones()), test_name);

class LearnedQuantizerContract : public QuantizerContract {};

TEST_P(LearnedQuantizerContract, ItsOwnOutputIsAFixedPoint) {
  const auto quantizer = create();
  const Tensor w = weight();
  quantizer->init(w);
  const Encoded e = quantizer->encode(w);
  const Tensor wq = decode(e);
  const Encoded again = quantizer->encode(wq);
  // What is learned may be a factor of a statistic, which other weights change: those scales
  // differ.
  const Tensor moved = spread(e, (again.scales != e.scales).to(at::kFloat));
  const Tensor differs = (decode(again) != wq).to(at::kFloat);
  EXPECT_EQ(largest(differs * (1 - moved)), 0.0);
}

INSTANTIATE_TEST_SUITE_P(Registered,
                         LearnedQuantizerContract,
                         testing::ValuesIn(learned()),
                         test_name);

TEST(QuantizerInit, ASearchedRangeIsNeverWorseThanTheLargestWeight) {
  const Tensor w = heavy({16, 128}, 15);
  int compared = 0;
  for (const recipes::ComponentInfo& component : quantizers().all()) {
    const recipes::Field* init = field(component, "init");
    for (const char* rule : {"mse", "clip_search"}) {
      if (init == nullptr || init->allowed.find(rule) == std::string::npos)
        continue;
      for (const char* group : {"0", "-1", "32"}) {
        const std::string rest = std::string("\", scale_dtype = \"fp32\", group = ") + group;
        const auto searched = make(component.name, std::string("init = \"") + rule + rest);
        const auto plain = make(component.name, "init = \"absmax" + rest);
        const double found = (fake_quant(*searched, w) - w).square().sum().item<double>();
        const double before = (fake_quant(*plain, w) - w).square().sum().item<double>();
        EXPECT_LT(found, before) << component.name << " " << rule << " group " << group;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 50);
}

}  // namespace
}  // namespace sterna::quant
