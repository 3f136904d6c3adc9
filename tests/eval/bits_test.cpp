// Bits by sensitivity, on a small model one matrix of which matters far more than the others.
#include "trainer/eval/bits.h"

#include <barrier>
#include <thread>

#include <gtest/gtest.h>

#include "tests/io/support.h"
#include "tests/support/tiny_model.h"
#include "trainer/eval/perplexity.h"

namespace sterna::eval {
namespace {

constexpr const char* kLoud = "model.layers.0.mlp.down_proj";
// 2 bits cost 2.5625 a weight, 4 cost 4.625; of 18,432 weights that matrix has 2,048.
constexpr const char* kRecipe =
    "[quant]\nweight = { name = 'minmax_asym', bits = 2, group = 32 }\n"
    "budget_bits = 2.8\nbudget_candidates = [2, 4]\nbudget_text = 'text.txt'\n";

class Bits : public testing::Test {
 protected:
  Bits() : decoder_(load()) {
    const auto random = at::make_generator<at::CPUGeneratorImpl>(uint64_t{3});
    tokens_ = at::randint(0, 256, {3, 16}, random, at::kLong);
  }

  model::Decoder load() {
    tests::write_tiny_model(folder_.path());
    return model::load_decoder(model::inspect(folder_.path()), at::kFloat);
  }

  static quant::Plan plan(const std::string& text) {
    recipes::Recipe recipe = recipes::Recipe::parse(text, "test");
    return quant::Plan::read(recipe.section("quant"));
  }

  static Tensor rounded(const quant::Plan& plan, const quant::Linear& linear) {
    const auto quantizer = plan.build(linear.name);
    quantizer->init(linear.weight);
    return quant::decode(quantizer->encode(linear.weight));
  }

  /// All but one matrix hold values of the 2-bit grid already: rounding them loses nothing.
  void leave_one_to_lose() {
    for (quant::Linear* linear : decoder_.linears())
      if (linear->name != kLoud)
        linear->weight = rounded(plan(kRecipe), *linear);
  }

  BitAssignment assign(const quant::Plan& plan) {
    return assign_bits(plan, decoder_, tokens_, {[](const std::string&) {}});
  }

  tests::TempFolder folder_;
  model::Decoder decoder_;
  Tensor tokens_;
};

TEST_F(Bits, TheMatrixThatMattersGetsThemAndTheModelLosesLessThanWithTheSameForAll) {
  leave_one_to_lose();
  const quant::Plan wanted = plan(kRecipe);
  const BitAssignment bits = assign(wanted);
  ASSERT_EQ(bits.matrices.size(), 14u);
  for (size_t i = 0; i < bits.matrices.size(); ++i)
    EXPECT_EQ(bits.chosen[i], bits.matrices[i].module == kLoud ? 1u : 0u)
        << bits.matrices[i].module;
  EXPECT_NEAR(bits.bits, 2.5625 + 2048 * 2.0625 / 18432, 1e-9);
  ASSERT_TRUE(bits.has_uniform);
  EXPECT_EQ(bits.uniform, 0u);
  EXPECT_NEAR(bits.uniform_bits, 2.5625, 1e-9);
  EXPECT_LT(bits.divergence, 0.5 * bits.uniform_divergence);
}

TEST_F(Bits, ASensitivityIsTheDivergenceOfTheModelWithThatMatrixAloneQuantized) {
  const quant::Plan wanted = plan(kRecipe);
  const BitAssignment bits = assign(wanted);
  const BitAssignment again = assign(wanted);
  const model::Decoder full = std::move(decoder_);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens_.numel(); ++i)
    ids.push_back(static_cast<int32_t>(tokens_.view({-1})[i].item<int64_t>()));
  ids.push_back(0);  // a target, which divergence does not look at
  EvalOptions options;
  options.window = tokens_.size(1);
  options.overlap_target = true;
  for (size_t i = 0; i < bits.matrices.size(); ++i) {
    model::Decoder other = load();
    for (quant::Linear* linear : other.linears()) {
      if (linear->name == bits.matrices[i].module)
        linear->weight = rounded(wanted, *linear);
    }
    const double expected = evaluate(other, ids, options, &full).divergence->mean;
    EXPECT_GT(expected, 0);
    EXPECT_NEAR(bits.matrices[i].costs.loss[0], expected, 1e-6 + 1e-5 * expected);
    EXPECT_EQ(bits.matrices[i].costs.loss, again.matrices[i].costs.loss) << "bit for bit";
  }
}

TEST_F(Bits, ProcessesThatShareTheMeasurementsFindTheSameToTheBit) {
  const quant::Plan wanted = plan(kRecipe);
  const BitAssignment alone = assign(wanted);
  constexpr int64_t kParts = 3;
  std::vector<std::string> told(kParts);
  std::barrier barrier(kParts);
  std::vector<BitAssignment> found(kParts);
  std::vector<std::thread> processes;
  for (int64_t part = 0; part < kParts; ++part)
    processes.emplace_back([&, part] {
      model::Decoder own = model::load_decoder(model::inspect(folder_.path()), at::kFloat);
      const auto exchange = [&](const std::function<std::string()>& measure) {
        told[part] = measure();
        barrier.arrive_and_wait();
        return told;
      };
      found[part] =
          assign_bits(wanted, own, tokens_, {[](const std::string&) {}, {part, kParts, exchange}});
    });
  for (std::thread& process : processes)
    process.join();
  for (const std::string& bytes : told)  // 14 matrices in 2 ways, by turns
    EXPECT_NEAR(static_cast<double>(bytes.size()) / sizeof(double), 28.0 / kParts, 1);
  for (const BitAssignment& each : found) {
    EXPECT_EQ(each.chosen, alone.chosen);
    for (size_t i = 0; i < alone.matrices.size(); ++i)
      EXPECT_EQ(each.matrices[i].costs.loss, alone.matrices[i].costs.loss);
    EXPECT_EQ(rules_text(wanted, each), rules_text(wanted, alone));
  }
}

TEST_F(Bits, TheModelIsTheSameAfterwards) {
  std::vector<Tensor> before;
  for (const quant::Linear* linear : decoder_.linears())
    before.push_back(linear->weight.clone());
  assign(plan(kRecipe));
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_TRUE(at::equal(before[i], decoder_.linears()[i]->weight));
}

TEST_F(Bits, TheRulesAreARecipeThatLeavesNothingToAssign) {
  leave_one_to_lose();
  const quant::Plan wanted = plan(kRecipe);
  const BitAssignment bits = assign(wanted);
  recipes::Recipe recipe = recipes::Recipe::parse(kRecipe, "test");
  add_rules(recipe, rules_text(wanted, bits), "bits.toml");
  const quant::Plan ruled = quant::Plan::read(recipe.section("quant"));
  EXPECT_TRUE(bit_matrices(ruled, decoder_).empty());
  for (size_t i = 0; i < bits.matrices.size(); ++i)
    EXPECT_EQ(ruled.build(bits.matrices[i].module)->bits(), bits.chosen[i] == 0 ? 2 : 4);
  const std::string table = table_text(wanted, bits);
  EXPECT_NE(table.find("KLD at 2"), std::string::npos) << table;
  EXPECT_NE(table.find("assigned: 14 matrices, 2.7917 bits a weight (budget 2.8)"),
            std::string::npos)
      << table;
}

TEST_F(Bits, WhatARuleDecidesAboutKeepsItAndDoesNotCount) {
  for (const char* rule : {"[[quant.rule]]\nmatch = '*.layers.0.*'\nweight = 'none'\n",
                           "[quant.rule]\nmatch = '*.layers.0.*'\nweight = 'none'\n"}) {
    recipes::Recipe recipe = recipes::Recipe::parse(kRecipe + std::string(rule), "test");
    const quant::Plan wanted = quant::Plan::read(recipe.section("quant"));
    const BitAssignment bits = assign(wanted);
    EXPECT_EQ(bits.matrices.size(), 7u);
    add_rules(recipe, rules_text(wanted, bits), "bits.toml");
    const quant::Plan ruled = quant::Plan::read(recipe.section("quant"));
    EXPECT_EQ(ruled.build(kLoud), nullptr) << "its own rule comes first";
    EXPECT_TRUE(bit_matrices(ruled, decoder_).empty());
  }
}

TEST_F(Bits, ABudgetBelowTheNarrowestCandidateIsRefusedWithWhatItNeeds) {
  recipes::Recipe recipe = recipes::Recipe::parse(kRecipe, "test");
  recipe.set("quant.budget_bits=2.5");
  try {
    bit_matrices(quant::Plan::read(recipe.section("quant")), decoder_);
    FAIL() << "2.5625 are needed";
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("quant.budget_bits: 2.5 bits"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("2.5625"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace sterna::eval
