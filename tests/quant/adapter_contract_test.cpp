// What quant/adapter.h promises, for every registered adapter, and what the plan refuses.
#include <gtest/gtest.h>

#include "quant/adapter_plan.h"
#include "quant/linear.h"
#include "recipes/recipe.h"

namespace sterna::quant {
namespace {

constexpr int64_t kOutputs = 24, kInputs = 20;

Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

class EveryAdapter : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Adapter> attached() const {
    auto adapter = adapters().make_default(GetParam());
    adapter->attach("model.layers.0.mlp.up_proj", kOutputs, kInputs);
    return adapter;
  }

  /// Values as before training, or drawn where `trained`; gradient buffers of zeros.
  static void fill(Adapter& adapter, bool trained, at::ScalarType dtype = at::kFloat) {
    const std::vector<Tensor> initial = adapter.initial(7);
    uint64_t seed = 10;
    size_t i = 0;
    for (const AdapterMatrix& matrix : adapter.matrices()) {
      const Tensor& value = initial.at(i++);
      EXPECT_EQ(value.sizes(), at::IntArrayRef(matrix.shape)) << matrix.name;
      *matrix.value = (trained ? draw(matrix.shape, seed++) : value).to(dtype);
      *matrix.grad = at::zeros(matrix.shape);
    }
  }
};

TEST_P(EveryAdapter, ChangesNothingBeforeTraining) {
  const auto adapter = attached();
  fill(*adapter, /*trained=*/false);
  EXPECT_EQ(adapter->forward(draw({3, 5, kInputs}, 1)).abs().max().item<float>(), 0);
  EXPECT_EQ(adapter->delta().abs().max().item<float>(), 0);
}

TEST_P(EveryAdapter, StartsFromAPureFunctionOfSeedAndModule) {
  auto one = attached(), same = attached();
  auto other = adapters().make_default(GetParam());
  other->attach("model.layers.1.mlp.up_proj", kOutputs, kInputs);
  const Tensor first = one->initial(7).front();
  EXPECT_TRUE(at::equal(first, same->initial(7).front()));
  EXPECT_FALSE(at::equal(first, one->initial(8).front()));
  EXPECT_FALSE(at::equal(first, other->initial(7).front()));
}

TEST_P(EveryAdapter, MergesIntoTheWeightThatItCorrects) {
  Linear linear;
  linear.name = "model.layers.0.mlp.up_proj";
  linear.weight = draw({kOutputs, kInputs}, 2);
  linear.adapter = attached();
  fill(*linear.adapter, /*trained=*/true);
  const Tensor x = draw({3, 5, kInputs}, 1);
  const Tensor merged = at::linear(x, linear.weight + linear.adapter->delta());
  const Tensor y = linear.forward(x);
  EXPECT_LT((y - merged).abs().max().item<float>(), 1e-5 * merged.abs().max().item<float>());
  EXPECT_GT(linear.adapter->delta().abs().max().item<float>(), 0.1F);
}

TEST_P(EveryAdapter, GradientsEqualAutogradsAndLeaveTheFrozenBaseAlone) {
  Linear linear;
  linear.name = "model.layers.0.mlp.up_proj";
  linear.weight = draw({kOutputs, kInputs}, 2);
  linear.adapter = attached();
  fill(*linear.adapter, /*trained=*/true);
  const Tensor x = draw({3, 5, kInputs}, 1).requires_grad_();
  const Tensor dy = draw({3, 5, kOutputs}, 3);
  linear.forward(x).backward(dy);
  EXPECT_FALSE(linear.grad.defined());

  // Every matrix by central differences of <y, dy>, which is quadratic at most in each of them.
  const auto loss = [&] {
    const at::NoGradGuard no_grad;
    return (linear.forward(x).to(at::kDouble) * dy).sum().item<double>();
  };
  for (const AdapterMatrix& matrix : linear.adapter->matrices()) {
    for (const int64_t at : {int64_t{0}, matrix.value->numel() / 2, matrix.value->numel() - 1}) {
      Tensor entry = matrix.value->view(-1)[at];
      const float before = entry.item<float>();
      entry.fill_(before + 0.5F);
      const double up = loss();
      entry.fill_(before - 0.5F);
      const double down = loss();
      entry.fill_(before);
      EXPECT_NEAR(matrix.grad->view(-1)[at].item<double>(), up - down, 1e-3 * (1 + std::abs(up)))
          << matrix.name << " " << at;
    }
  }
  const Tensor effective = linear.weight + linear.adapter->delta();
  EXPECT_LT((x.grad() - at::matmul(dy, effective)).abs().max().item<float>(), 1e-3F);
}

TEST_P(EveryAdapter, ComputesInTheDtypeOfItsMatrices) {
  const auto adapter = attached();
  fill(*adapter, /*trained=*/true, at::kBFloat16);
  EXPECT_EQ(adapter->forward(draw({2, kInputs}, 1).to(at::kBFloat16)).scalar_type(), at::kBFloat16);
  EXPECT_EQ(adapter->delta().scalar_type(), at::kFloat);
}

INSTANTIATE_TEST_SUITE_P(Registry,
                         EveryAdapter,
                         testing::ValuesIn(adapters().names()),
                         [](const auto& each) { return each.param; });

AdapterPlan adapter_plan(const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse(text, "recipe.toml");
  return AdapterPlan::read(recipe.section("adapter"));
}

std::string complaint(const std::string& text, const std::vector<std::string>& modules) {
  try {
    adapter_plan(text).require_matches(modules);
  } catch (const recipes::RecipeError& error) {
    return error.what();
  }
  return "";
}

TEST(AdapterPlan, GivesAdaptersToWhatItsPatternsMatchOnly) {
  const AdapterPlan plan =
      adapter_plan("[adapter]\nmethod = \"lora\"\nmatch = [\"*.q_proj\", \"*.v_proj\"]\n");
  EXPECT_NE(plan.build("model.layers.0.self_attn.q_proj"), nullptr);
  EXPECT_EQ(plan.build("model.layers.0.self_attn.k_proj"), nullptr);
  EXPECT_NE(adapter_plan("[adapter]\nmethod = \"lora\"\n").build("anything"), nullptr);
  EXPECT_TRUE(adapter_plan("").empty());
  EXPECT_EQ(adapter_plan("").build("anything"), nullptr);
}

TEST(AdapterPlan, NamesAPatternThatMatchesNothingAndTheNearestLayer) {
  const std::string said = complaint("[adapter]\nmethod = \"lora\"\nmatch = [\"*.q_prj\"]\n",
                                     {"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up"});
  EXPECT_NE(said.find("recipe.toml:3"), std::string::npos) << said;
  EXPECT_NE(said.find("*.q_prj"), std::string::npos) << said;
  EXPECT_NE(said.find("self_attn.q_proj"), std::string::npos) << said;
}

TEST(AdapterPlan, ARankBeyondTheMatrixIsRefused) {
  recipes::Recipe recipe =
      recipes::Recipe::parse("[adapter]\nmethod = { name = \"lora\", rank = 21 }\n", "r.toml");
  const auto adapter = AdapterPlan::read(recipe.section("adapter")).build("m");
  EXPECT_THROW(adapter->attach("m", kOutputs, kInputs), recipes::UserError);
}

}  // namespace
}  // namespace sterna::quant
