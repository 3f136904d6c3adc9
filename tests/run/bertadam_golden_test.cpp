// Five steps of the published BertAdam: clipping of each tensor by its own norm, no bias
// correction, decay inside the rate, each tensor's own count of steps.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/support/reference_set.h"
#include "trainer/run/optimizer.h"
#include "trainer/run/schedule.h"

namespace sterna::run {
namespace {

using tests::agrees;
using tests::ReferenceSet;

struct Case {
  std::string name;
  double lr;
  double warmup;  ///< attempts
  int64_t steps;

  /// Schedule counts whole attempts; where the published fraction is none, from the end on.
  bool has_schedule(int64_t own_step) const {
    return warmup == std::floor(warmup) || own_step >= steps;
  }
};

const std::vector<std::string> kNames{"encoder.dense.weight",
                                      "encoder.dense.bias",
                                      "encoder.LayerNorm.weight",
                                      "encoder.LayerNorm.bias",
                                      "embeddings.weight",
                                      "unused.weight",
                                      "small.weight"};

bool decays(const std::string& name) {
  return name.ends_with("weight") && name.find("LayerNorm") == std::string::npos;
}

class PublishedBertAdam : public testing::TestWithParam<Case> {};

TEST_P(PublishedBertAdam, MovesEveryTensorAsTheCodeDoes) {
  STERNA_REQUIRE_DATA("qat_cases/bertadam.safetensors");
  const ReferenceSet set("qat_cases/bertadam.safetensors");
  const Case& c = GetParam();
  const Schedule schedule{"bert", c.steps, static_cast<int64_t>(c.warmup)};
  const auto given = [&](const std::string& what) { return set.at(c.name + "/" + what); };
  const Tensor rates = given("lr");
  Optimizer optimizer({0.9, 0.999, 1e-6, 0.01, /*bert=*/true}, /*clip=*/1.0);
  std::map<std::string, Tensor> values;
  std::map<std::string, int64_t> own_steps;
  for (const std::string& name : kNames)
    values[name] = given("start/" + name).clone();
  for (int64_t step = 0; step < 5; ++step) {
    for (size_t i = 0; i < kNames.size(); ++i) {
      const std::string& name = kNames[i];
      const bool has_gradient = name != "unused.weight" || (step != 0 && step != 2);
      if (has_gradient) {
        Trained t;
        t.name = name;
        t.value = values[name];
        t.grad = given("grad." + std::to_string(step) + "/" + name).contiguous();
        t.decays = decays(name);
        const double lr = rates[step][static_cast<int64_t>(i)].item<float>();
        const int64_t own_step = own_steps[name]++;
        if (c.has_schedule(own_step)) {
          EXPECT_NEAR(c.lr * schedule.factor(own_step), lr, 1e-6 * c.lr) << name;
        }
        std::vector<Trained> one{t};
        ASSERT_TRUE(optimizer.apply(one, {lr, lr}).applied);
      }
      EXPECT_TRUE(agrees(values[name], given("after." + std::to_string(step) + "/" + name), 1e-5))
          << name << " after step " << step;
    }
  }
  for (const auto& [name, moments] : optimizer.moments()) {
    EXPECT_TRUE(agrees(moments.first, given("m/" + name), 1e-5)) << name;
    EXPECT_TRUE(agrees(moments.second, given("v/" + name), 1e-5)) << name;
  }
  EXPECT_EQ(optimizer.moments().at("unused.weight").applied, 3);
  EXPECT_EQ(optimizer.moments().at("small.weight").applied, 5);
}

INSTANTIATE_TEST_SUITE_P(Cases,
                         PublishedBertAdam,
                         testing::Values(Case{"warmup", 1e-3, 2, 8},
                                         Case{"script", 2e-5, 6, 60},
                                         Case{"past_end", 5e-3, 0.3, 3}),
                         [](const auto& p) { return p.param.name; });

TEST(PublishedBertAdam, TheFirstStepIsThreeTimesTheSignOfTheClippedGradient) {
  STERNA_REQUIRE_DATA("qat_cases/bertadam.safetensors");
  const ReferenceSet set("qat_cases/bertadam.safetensors");
  Trained t;
  t.name = "w";
  t.value = at::zeros({4});
  t.grad = set.at("first_step/grad").contiguous();
  std::vector<Trained> one{t};
  Optimizer optimizer({0.9, 0.999, 1e-6, 0.0, /*bert=*/true}, /*clip=*/1.0);
  ASSERT_TRUE(optimizer.apply(one, {1.0, 1.0}).applied);
  EXPECT_TRUE(agrees(t.value, set.at("first_step/after"), 1e-5));
}

}  // namespace
}  // namespace sterna::run
