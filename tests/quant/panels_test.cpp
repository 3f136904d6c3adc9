// Matrices that are multiplied as they lie: every scheme and every activation quantizer of the
// registries against the definition.
#include "quant/panels.h"

#include <cmath>

#include <ATen/Parallel.h>

#include "kernels/matmul.h"
#include "quant/linear.h"
#include "tests/quant/act_support.h"
#include "tests/quant/configurations.h"
#include "tests/support/integer_product.h"

namespace sterna::quant {
namespace {

/// Wider than a panel of outputs, and not a whole number of panels.
Encoded encoded_by(const Configured& c, int64_t n = 40, int64_t k = 192) {
  Tensor w = heavy({n, k}, 7) * 0.1;
  w[3].zero_();
  const auto quantizer = make(c.name, c.fields);
  quantizer->init(w);
  return quantizer->encode(w);
}

bool has_field(const recipes::ComponentInfo& component, const std::string& name) {
  return field(component, name) != nullptr;
}

/// Quantizers whose defaults no kernel multiplies: tables of their own for rows or groups, scales
/// of their own below zero.
const std::set<std::string> kDecoded = {"nf3_sided"};

TEST(Panels, HoldEveryRegisteredSchemeButThoseNamed) {
  std::set<std::string> decoded;
  for (const std::string& name : quantizers().names())
    if (!Panels::make(encoded_by({name, ""})))
      decoded.insert(name);
  EXPECT_EQ(decoded, kDecoded);
}

TEST(Panels, DecodeEveryConfigurationToTheBitAndMultiplyWithIt) {
  const Tensor x = heavy({5, 192}, 9);
  size_t held = 0, all = 0;
  for (const Configured& c : configurations()) {
    SCOPED_TRACE(c.name + " {" + c.fields + "}");
    const Encoded e = encoded_by(c, 24);
    const auto panels = Panels::make(e);
    ++all;
    if (!panels)
      continue;
    ++held;
    const Tensor w = decode(e);
    ASSERT_TRUE(at::equal(panels->decode(at::kFloat), w));
    EXPECT_TRUE(at::equal(panels->rows(at::tensor({23, 0, 17}, at::kLong), at::kFloat),
                          w.index_select(0, at::tensor({23, 0, 17}, at::kLong))));
    const Tensor exact = at::mm(x.to(at::kDouble), w.t().to(at::kDouble));
    // kernels/matmul.h has both bounds: of tables, and of codes that are whole numbers.
    const bool table = e.grid == Grid::kLevels && c.name != "dint";
    const Tensor sizes = table ? at::mm(x.abs().to(at::kDouble), w.t().abs().to(at::kDouble))
                               : x.abs().amax(1, true) * w.abs().sum(1).to(at::kDouble);
    const int64_t sums = table ? 192 + 4 : 192 / e.group + 12;
    const Tensor bound = sizes * (static_cast<double>(sums) * 0x1p-24);
    EXPECT_TRUE(((panels->forward(x) - exact).abs() <= bound).all().item<bool>());
  }
  EXPECT_GT(held, all / 2);
}

TEST(Panels, ProductsOfIntegersAreTheDefinitionToTheBit) {
  const Tensor x = heavy({5, 192}, 9);
  size_t exact = 0;
  for (const recipes::ComponentInfo& component : quantizers().all()) {
    const std::string& name = component.name;
    for (const char* fields : {"", "group = 32", "group = -1"}) {
      if (*fields != 0 && !has_field(component, "group"))
        continue;
      const Encoded e = encoded_by({name, fields});
      const auto panels = Panels::make(e);
      if (!panels || (e.grid == Grid::kLevels && name != "dint"))
        continue;
      for (const std::string& act_name : act_quantizers().names()) {
        SCOPED_TRACE(name + " {" + fields + "} " + act_name);
        const std::shared_ptr<ActQuantizer> act = act_quantizers().make_default(act_name);
        train_on(*act, x);
        const auto grids = act->grids(x.const_data_ptr<float>(), x.size(0), x.size(1));
        ASSERT_EQ(grids.size(), 5u);
        EXPECT_TRUE(
            at::equal(panels->forward_rounded(x, act), tests::integer_product(e, x, grids)));
        ++exact;
      }
    }
  }
  EXPECT_GT(exact, 60u);
}

TEST(Panels, CodesOfActivationsTimesTheirStepAreWhatTheFakeQuantizerGives) {
  const Tensor x = heavy({7, 192}, 3);
  for (const std::string& name : act_quantizers().names()) {
    for (const char* fields : {"", "bits = 4", "symmetric = false", "clip_val = 1.5"}) {
      SCOPED_TRACE(name + " {" + fields + "}");
      const auto act = make_act(name, fields);
      train_on(*act, x);
      const auto grids = act->grids(x.const_data_ptr<float>(), x.size(0), x.size(1));
      ASSERT_EQ(grids.size(), 7u);
      const Tensor rounded = act->forward(x);
      for (int64_t t = 0; t < 7; ++t) {
        const kernels::ActGrid& g = grids[static_cast<size_t>(t)];
        const Tensor codes = ((x[t] - g.origin) * g.inverse).clamp(g.lo, g.hi).round();
        EXPECT_TRUE(at::equal(codes * g.step + g.origin, rounded[t]));
      }
    }
  }
}

TEST(Panels, InputsThatAreNoIntegersAroundZeroAreMultipliedAsFloats) {
  const auto panels = Panels::make(encoded_by({"minmax_sym", ""}));
  const Tensor x = heavy({3, 192}, 4).abs();
  const std::shared_ptr<ActQuantizer> act = make_act("per_token", "symmetric = false");
  EXPECT_TRUE(at::equal(panels->forward_rounded(x, act), panels->forward(act->forward(x))));
  const auto table = Panels::make(encoded_by({"nf", ""}));
  const std::shared_ptr<ActQuantizer> round = make_act("per_token", "");
  EXPECT_TRUE(at::equal(table->forward_rounded(x, round), table->forward(round->forward(x))));
}

TEST(Panels, GiveTheSameBitsOnOneThreadAndOnThree) {
  const int threads = at::get_num_threads();
  const Encoded e = encoded_by({"dint", "group = 64"}, 1000, 1024);
  const std::shared_ptr<ActQuantizer> act = act_quantizers().make_default("per_token");
  for (const int64_t tokens : {1, 3, 130}) {
    const Tensor x = heavy({tokens, 1024}, 5);
    std::vector<Tensor> results;
    for (const int count : {1, 3}) {
      at::set_num_threads(count);
      const auto panels = Panels::make(e);
      results.push_back(panels->forward(x));
      results.push_back(panels->forward_rounded(x, act));
    }
    EXPECT_TRUE(at::equal(results[0], results[2])) << tokens;
    EXPECT_TRUE(at::equal(results[1], results[3])) << tokens;
  }
  at::set_num_threads(threads);
}

TEST(Panels, StandInForTheWeightOfALayer) {
  const Encoded e = encoded_by({"twn", ""});
  Linear packed;
  packed.weight = at::empty({0, 192});
  packed.adapter = Panels::make(e);
  packed.bias = at::randn({40});
  const Tensor x = heavy({2, 3, 192}, 6);
  EXPECT_EQ(packed.forward(x).sizes(), at::IntArrayRef({2, 3, 40}));
  EXPECT_TRUE(at::equal(packed.forward(x), packed.adapter->forward(x) + packed.bias));
  packed.weight = at::empty({0, 192}, at::kBFloat16);
  EXPECT_EQ(packed.forward(x.to(at::kBFloat16)).scalar_type(), at::kBFloat16);
  EXPECT_EQ(packed.forward(at::empty({0, 192}, at::kBFloat16)).sizes(), at::IntArrayRef({0, 40}));
  EXPECT_THROW(packed.adapter->forward(x.clone().requires_grad_()), c10::Error);
  EXPECT_THROW(packed.adapter->forward(at::randn({2, 191})), c10::Error);
}

}  // namespace
}  // namespace sterna::quant
