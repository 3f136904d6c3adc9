#include "trainer/cli/plan_table.h"

#include <sstream>

#include <gtest/gtest.h>

namespace sterna::cli {
namespace {

std::vector<PlannedMatrix> tiny_model() {
  return {{"model.embed_tokens.weight", 100, 64, quant::Place::kOutside},
          {"model.layers.0.self_attn.q_proj.weight", 64, 64},
          {"model.layers.0.mlp.down_proj.weight", 64, 96}};
}

std::vector<PlannedMatrix> planned(const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse(text, "r.toml");
  std::vector<PlannedMatrix> matrices = tiny_model();
  fill_plan(quant::Plan::read(recipe.section("quant")), matrices);
  return matrices;
}

constexpr const char* kText = R"([quant]
weight = { name = "minmax_sym", bits = 4, group = 32 }
[[quant.rule]]
match = "*.down_proj"
weight = { name = "twn", group = -1 }
)";

TEST(PlanTable, EveryMatrixSaysItsSchemeAndWhatItCosts) {
  const std::vector<PlannedMatrix> matrices = planned(kText);
  EXPECT_EQ(matrices[0].scheme, "none");
  EXPECT_EQ(matrices[0].bits_per_weight, 16);
  EXPECT_EQ(matrices[1].scheme, "minmax_sym");
  EXPECT_EQ(matrices[1].bits, 4);
  EXPECT_EQ(matrices[1].group, 32);
  // 4 bits and a scale of 16 for every 32 weights.
  EXPECT_DOUBLE_EQ(matrices[1].bits_per_weight, 4.5);
  EXPECT_EQ(matrices[2].rule, "rule 1: *.down_proj");
  EXPECT_EQ(matrices[2].group, 0);
  // One scale for all rows, not for the few that are tried.
  EXPECT_NEAR(matrices[2].bits_per_weight - 2, 16.0 / (64 * 96), 1e-12);
}

TEST(PlanTable, PrintsALinePerMatrixAndBothAverages) {
  std::ostringstream out;
  print_plan(planned(kText), out);
  EXPECT_EQ(
      out.str(),
      "tensor                                  shape      rule                 scheme      bits  "
      "group   bits/weight\n"
      "model.embed_tokens.weight               [100, 64]  outside the blocks   none        -     "
      "-       16.0000\n"
      "model.layers.0.self_attn.q_proj.weight  [64, 64]   default              minmax_sym  4     "
      "32      4.5000\n"
      "model.layers.0.mlp.down_proj.weight     [64, 96]   rule 1: *.down_proj  twn         2     "
      "matrix  2.0026\n"
      "\n"
      "quantized: 2 matrices, 10240 weights, 3.0016 bits per weight\n"
      "all:       3 matrices, 16640 weights, 8.0010 bits per weight\n"
      "(scales and zero points counted; full precision counts as bf16)\n");
}

TEST(PlanTable, ASchemeThatDoesNotFitAMatrixNamesTheTensor) {
  try {
    planned("[quant]\nweight = { name = 'minmax_sym', group = 64 }\n");
    FAIL() << "a group of 64 does not divide 96 columns";
  } catch (const recipes::UserError& error) {
    EXPECT_EQ(
        std::string(error.what()).find("model.layers.0.mlp.down_proj.weight [64, 96]: minmax_sym"),
        0u)
        << error.what();
  }
}

TEST(PlanTable, NoMatrixAtAllIsNoDivisionByZero) {
  std::ostringstream out;
  print_plan({}, out);
  EXPECT_NE(out.str().find("0 matrices, 0 weights, 0 bits"), std::string::npos);
}

}  // namespace
}  // namespace sterna::cli
