// Bits shared out under an average: the greedy exchange against trying everything.
#include "quant/budget.h"

#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "quant/plan.h"

namespace sterna::quant {
namespace {

double loss_of(const std::vector<BitCosts>& matrices, const std::vector<size_t>& chosen) {
  double loss = 0;
  for (size_t i = 0; i < matrices.size(); ++i)
    loss += matrices[i].loss[chosen[i]];
  return loss;
}

/// The least loss of all choices within the budget.
double by_brute_force(const std::vector<BitCosts>& matrices, double budget) {
  std::vector<size_t> chosen(matrices.size(), 0);
  double best = std::numeric_limits<double>::infinity();
  while (true) {
    if (average_bits(matrices, chosen) <= budget * (1 + 1e-12))
      best = std::min(best, loss_of(matrices, chosen));
    size_t i = 0;
    while (i < chosen.size() && ++chosen[i] == matrices[i].bits.size())
      chosen[i++] = 0;
    if (i == chosen.size())
      return best;
  }
}

TEST(ShareOut, IsAsGoodAsTryingEverythingWhereSizesAreEqualAndEachFurtherBitGivesLess) {
  std::mt19937 engine(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<BitCosts> matrices;
    for (int i = 0; i < 5; ++i) {
      const double first = 1 + engine() % 1000;
      const double second = first * static_cast<double>(engine() % 100) / 100;
      matrices.push_back({64, {2.25, 3.25, 4.25}, {first + second, second, 0}});
    }
    for (double budget = 2.25; budget <= 4.25; budget += 0.1) {
      const std::vector<size_t> chosen = share_out(matrices, budget);
      EXPECT_LE(average_bits(matrices, chosen), budget + 1e-9);
      EXPECT_NEAR(loss_of(matrices, chosen), by_brute_force(matrices, budget), 1e-9) << budget;
    }
  }
}

TEST(ShareOut, MissesTheOptimumByNoMoreThanOneChangeOfAnyTable) {
  std::mt19937 engine(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<BitCosts> matrices;
    double weights = 0;
    double largest = 0;
    for (int i = 0; i < 5; ++i) {
      const double size = 32.0 * (1 + engine() % 8);
      BitCosts m{size, {2.5, 3, 4.5}, {}};
      for (int c = 0; c < 3; ++c)  // not even falling
        m.loss.push_back(static_cast<double>(engine() % 1000) / (c + 1));
      weights += size;
      largest = std::max(largest, size * (4.5 - 2.5));
      matrices.push_back(m);
    }
    for (double budget = 2.5; budget <= 4.5; budget += 0.2) {
      const std::vector<size_t> chosen = share_out(matrices, budget);
      EXPECT_LE(average_bits(matrices, chosen), budget + 1e-9);
      const double less = std::max(2.5, budget - largest / weights);
      EXPECT_LE(loss_of(matrices, chosen), by_brute_force(matrices, less) + 1e-9) << budget;
    }
  }
}

TEST(ShareOut, CountsMatricesByTheirSize) {
  // The same loss, but the first costs four times as much to widen.
  const std::vector<BitCosts> matrices{{400, {2, 4}, {1, 0}}, {100, {2, 4}, {1, 0}}};
  EXPECT_EQ(share_out(matrices, 2.4), (std::vector<size_t>{0, 1})) << "exactly fits";
  EXPECT_EQ(share_out(matrices, 2.3), (std::vector<size_t>{0, 0}));
  EXPECT_EQ(share_out(matrices, 4), (std::vector<size_t>{1, 1}));
}

TEST(ShareOut, JumpsOverACandidateThatGivesLittle) {
  const std::vector<BitCosts> matrices{{10, {2, 3, 4}, {9, 8.9, 0}}, {10, {2, 3, 4}, {5, 3, 2.9}}};
  EXPECT_EQ(share_out(matrices, 3), (std::vector<size_t>{2, 0}));
}

TEST(ShareOut, TakesWhatIsBetterForNothingAndPaysForNothingWorse) {
  EXPECT_EQ(share_out({{10, {2.25, 2.25}, {3, 1}}}, 2.25), (std::vector<size_t>{1}));
  EXPECT_EQ(share_out({{10, {2, 3}, {1, 1}}}, 8), (std::vector<size_t>{0}));
  EXPECT_EQ(share_out({{10, {2, 3}, {1, 2}}}, 8), (std::vector<size_t>{0}));
  EXPECT_EQ(share_out({{10, {4, 2}, {0, 2}}}, 2), (std::vector<size_t>{1})) << "in any order";
}

Plan plan_of(const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse(text, "r.toml");
  Plan plan = Plan::read(recipe.section("quant"));
  recipe.reject_unknown();
  return plan;
}

TEST(Budget, ACandidateIsQuantWeightWithOtherBits) {
  const Plan plan = plan_of(
      "[quant]\nweight = { name = 'minmax_asym', bits = 3, group = 8 }\n"
      "budget_bits = 3.5\nbudget_candidates = [2, 4]\nbudget_text = 'x'\n");
  ASSERT_EQ(plan.budget().candidates.size(), 2u);
  EXPECT_EQ(plan.budget().candidates[1].weight, "{ name = \"minmax_asym\", bits = 4, group = 8 }");
  const auto quantizer = plan.budget().candidates[1].make();
  EXPECT_EQ(quantizer->bits(), 4);
  EXPECT_EQ(quantizer->group(64), 8);
  EXPECT_FALSE(plan_of("[quant]\nweight = 'twn'\n").budget().wanted());
  EXPECT_EQ(plan_of("[quant]\nweight='seq'\nbudget_bits=2.5\nbudget_candidates=[0,2]\n"
                    "budget_text='x'\n")
                .budget()
                .candidates[0]
                .weight,
            "{ name = \"seq\", bits = 0 }");
}

TEST(Budget, MistakesAreSaidOfTheirKey) {
  const auto error_of = [](const std::string& text) {
    try {
      plan_of(text);
    } catch (const recipes::RecipeError& error) {
      return std::string(error.what());
    }
    return std::string("nothing was wrong");
  };
  const std::string head = "[quant]\nbudget_bits = 3\nbudget_text = 'x'\n";
  const auto expect = [&](const std::string& text, const std::string& wanted) {
    const std::string found = error_of(text);
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  expect(head, "r.toml:2:1: 'quant.budget_bits': expected a quant.weight");
  expect(head + "weight = 'none'\n", "'quant.budget_bits': expected a quant.weight");
  expect(head + "weight = 'twn'\n",
         "'quant.budget_candidates': quant.weight cannot be given bits = 2");
  expect(head + "weight = 'minmax_asym'\nbudget_candidates = [1]\n",
         "r.toml:5:1: 'quant.budget_candidates': quant.weight cannot be given bits = 1");
  expect("[quant]\nbudget_bits = 3\nweight = 'seq'\n", "'quant.budget_text': expected a file");
  expect(head + "weight = 'seq'\nbudget_candidates = []\n", "expected widths to choose from");
  expect(head + "weight = 'seq'\n[[quant.stage]]\nuntil = 4\nweight = 'twn'\n", "quant.stage");
}

}  // namespace
}  // namespace sterna::quant
