#include "quant/plan.h"

#include <sstream>

#include <gtest/gtest.h>

namespace sterna::quant {
namespace {

/// A quantizer that only says how many bits it was asked for.
template <int64_t kBits>
class Fake final : public Quantizer {
 public:
  struct Config {
    int64_t bits = kBits;
    template <class V>
    void fields(V& v) {
      v("bits", bits, "bits of a code", recipes::Range{1, 8});
    }
  };
  explicit Fake(Config config) : config_(config) {}
  Encoded encode(const Tensor&) const override { return {}; }
  Gradients backward(const Tensor& w, const Tensor&) const override { return {w, {}}; }
  int64_t max_levels() const override { return int64_t{1} << config_.bits; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return k; }

 private:
  Config config_;
};

const recipes::Registry<Quantizer>& fakes() {
  static const auto registry = [] {
    recipes::Registry<Quantizer> r("quantizer");
    r.add<Fake<2>>("two", "");
    r.add<Fake<4>>("four", "");
    return r;
  }();
  return registry;
}

Plan plan_of_fakes(const std::string& text) {
  recipes::Recipe recipe = recipes::Recipe::parse(text, "r.toml");
  Plan plan = Plan::read(recipe.section("quant"), fakes());
  recipe.reject_unknown();
  return plan;
}

int64_t bits_of(const Plan& plan, const std::string& module, Place place = Place::kBlock) {
  const auto quantizer = plan.build(module, place);
  return quantizer ? quantizer->bits() : 0;
}

std::string error_of(const std::string& text, const std::vector<std::string>& modules = {}) {
  try {
    plan_of_fakes(text).require_matches(modules);
    return "";
  } catch (const recipes::RecipeError& error) {
    return error.what();
  }
}

const std::vector<std::string> kModules{"model.embed_tokens",
                                        "model.layers.0.self_attn.q_proj",
                                        "model.layers.0.mlp.up_proj",
                                        "model.layers.0.mlp.down_proj",
                                        "model.layers.11.mlp.down_proj",
                                        "lm_head"};

constexpr const char* kRules = R"(
[quant]
weight = "two"
[[quant.rule]]
match = "model.layers.0.*.down_proj"
weight = { name = "two", bits = 3 }
[[quant.rule]]
match = "*.down_proj"
weight = "four"
[[quant.rule]]
match = "*.q_proj"
weight = "none"
)";

TEST(Plan, TheFirstRuleThatMatchesWinsAndTheRestGetTheDefault) {
  const Plan plan = plan_of_fakes(kRules);
  EXPECT_EQ(bits_of(plan, "model.layers.0.mlp.down_proj"), 3);
  EXPECT_EQ(bits_of(plan, "model.layers.11.mlp.down_proj"), 4);
  EXPECT_EQ(bits_of(plan, "model.layers.0.mlp.up_proj"), 2);
  EXPECT_FALSE(plan.empty());
}

TEST(Plan, NoneKeepsFullPrecision) {
  const Plan plan = plan_of_fakes(kRules);
  EXPECT_EQ(plan.build("model.layers.0.self_attn.q_proj"), nullptr);
  EXPECT_EQ(plan.scheme_of("model.layers.0.self_attn.q_proj"), "none");
  EXPECT_TRUE(plan_of_fakes("").empty());
  EXPECT_TRUE(plan_of_fakes("[quant]\nweight = 'none'\n").empty());
  EXPECT_EQ(plan_of_fakes("").build("model.layers.0.mlp.up_proj"), nullptr);
}

TEST(Plan, EmbeddingAndHeadStayUnlessARuleMatchesThem) {
  const Plan plan = plan_of_fakes(kRules);
  EXPECT_EQ(bits_of(plan, "lm_head", Place::kOutside), 0);
  EXPECT_EQ(bits_of(plan, "model.embed_tokens", Place::kOutside), 0);
  const Plan named = plan_of_fakes("[[quant.rule]]\nmatch = 'lm_head'\nweight = 'four'\n");
  EXPECT_EQ(bits_of(named, "lm_head", Place::kOutside), 4);
  EXPECT_EQ(bits_of(named, "model.embed_tokens", Place::kOutside), 0);
  EXPECT_FALSE(named.empty());
}

TEST(Plan, EveryMatrixGetsAQuantizerOfItsOwn) {
  const Plan plan = plan_of_fakes(kRules);
  EXPECT_NE(plan.build("a.up_proj").get(), plan.build("a.up_proj").get());
}

TEST(Plan, SaysWhatDecided) {
  const Plan plan = plan_of_fakes(kRules);
  EXPECT_EQ(plan.rule_of("model.layers.0.mlp.down_proj"), "rule 1: model.layers.0.*.down_proj");
  EXPECT_EQ(plan.rule_of("model.layers.11.mlp.down_proj"), "rule 2: *.down_proj");
  EXPECT_EQ(plan.rule_of("model.layers.0.mlp.up_proj"), "default");
  EXPECT_EQ(plan.rule_of("lm_head", Place::kOutside), "outside the blocks");
  EXPECT_EQ(plan.scheme_of("model.layers.11.mlp.down_proj"), "four");
}

TEST(Plan, ARuleThatMatchesNothingNamesTheNearestModule) {
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = '*.donw_proj'\nweight = 'two'\n", kModules),
            "r.toml:2:1: 'quant.rule[0].match': \"*.donw_proj\" matches no weight matrix of this "
            "model; the nearest is 'model.layers.0.mlp.down_proj'");
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = 'lm_haed'\nweight = 'two'\n", kModules),
            "r.toml:2:1: 'quant.rule[0].match': \"lm_haed\" matches no weight matrix of this "
            "model; the nearest is 'lm_head'");
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = '*11*'\nweight = 'two'\n", kModules), "");
}

TEST(Plan, MistakesInARuleNameItsPlace) {
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = '*'\n"),
            "r.toml:1:1: 'quant.rule[0].weight': missing; expected a component's name");
  EXPECT_EQ(error_of("[[quant.rule]]\nweight = 'two'\n"),
            "r.toml:1:1: 'quant.rule[0].match': expected a module path, for example "
            "\"*.down_proj\"");
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = '*'\nweight = { name = 'two', bits = 9 }\n"),
            "r.toml:3:26: 'quant.rule[0].weight.bits': must lie in [1, 8], found 9");
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = '*'\nweight = 'towo'\n"),
            "r.toml:3:1: 'quant.rule[0].weight': no quantizer named 'towo'; did you mean 'two'?");
  EXPECT_EQ(error_of("[[quant.rule]]\nmatch = '*'\nweight = 'two'\nmach = 3\n"),
            "r.toml:4:1: unknown key 'quant.rule[0].mach'; did you mean 'quant.rule[0].match'?");
}

}  // namespace
}  // namespace sterna::quant
