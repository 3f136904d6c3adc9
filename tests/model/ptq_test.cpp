// GPTQ on a small model: what the blocks put out is missed less than by rounding to nearest.

#include "trainer/model/ptq.h"

#include <map>

#include <gtest/gtest.h>

#include "quant/plan.h"
#include "tests/io/support.h"
#include "tests/support/tiny_model.h"
#include "trainer/model/load.h"
#include "trainer/model/quantizers.h"

namespace sterna::model {
namespace {

class Gptq : public testing::Test {
 protected:
  Gptq() {
    tests::write_tiny_model(folder_.path());
    auto recipe = recipes::Recipe::parse(
        "[quant]\nweight = { name = \"minmax_asym\", bits = 2, group = 16 }\n"
        "[[quant.rule]]\nmatch = \"*.layers.1.mlp.up_proj\"\nweight = \"none\"\n"
        "[[quant.rule]]\nmatch = \"*.layers.0.mlp.down_proj\"\nweight = \"nf\"\n",
        "test");
    plan_ = std::make_unique<quant::Plan>(quant::Plan::read(recipe.section("quant")));
    const auto random = at::make_generator<at::CPUGeneratorImpl>(uint64_t{3});
    tokens_ = at::randint(0, 256, {12, 24}, random, at::kLong);
  }

  Decoder load() const { return load_decoder(inspect(folder_.path()), at::kFloat); }

  std::unique_ptr<quant::Quantizer> quantizer(const std::string& module, const Tensor& w) const {
    auto result = plan_->build(module);
    if (result)
      result->init(w);
    return result;
  }

  Tensor hidden(const Decoder& decoder) const {
    const at::NoGradGuard no_grad;
    const auto cache = kvcache::make_stateless(decoder.attention());
    return decoder.hidden(tokens_, at::arange(tokens_.size(1), at::kLong), *cache);
  }

  tests::TempFolder folder_;
  std::unique_ptr<quant::Plan> plan_;
  Tensor tokens_;
};

TEST_F(Gptq, MissesTheHiddenStatesLessThanRoundingToNearest) {
  const Decoder exact = load();
  Decoder nearest = load();
  for (quant::Linear* linear : nearest.linears())
    if (const auto by = quantizer(linear->name, linear->weight))
      quant::decode_into(by->encode(linear->weight), linear->weight);
  const double before = (hidden(nearest) - hidden(exact)).square().sum().item<double>();

  for (const bool act_order : {false, true}) {
    Decoder decoder = load();
    std::map<std::string, quant::Linear*> linears;
    for (quant::Linear* linear : decoder.linears())
      linears[linear->name + ".weight"] = linear;
    std::map<std::string, quant::Encoded> found;
    Rounding rounding;
    rounding.quantizer_of = [&](const std::string& name) {
      return quantizer(module_of(name), linears.at(name)->weight);
    };
    rounding.done = [&](const std::string& name, const quant::Encoded& encoded) {
      found[name] = encoded;
    };
    quant::GptqOrder order;
    order.by_activation = act_order;
    round_by_gptq(decoder, tokens_, rounding, order);
    const double after = (hidden(decoder) - hidden(exact)).square().sum().item<double>();
    EXPECT_LT(after, 0.9 * before) << act_order;
    EXPECT_EQ(found.size(), linears.size() - 1) << "all but the one that stays as it is";
    for (const auto& [name, linear] : linears) {
      EXPECT_EQ(linear->adapter, nullptr) << name;
      const bool rounded = found.count(name) > 0;
      EXPECT_TRUE(!rounded || at::equal(quant::decode(found.at(name)), linear->weight)) << name;
    }
  }
}

TEST_F(Gptq, NamesTheMatrixForWhichTheTextIsTooShort) {
  Decoder decoder = load();
  Rounding rounding;
  rounding.quantizer_of = [&](const std::string& name) {
    for (const quant::Linear* linear : decoder.linears())
      if (linear->name + ".weight" == name && name.find("layers.1.mlp.down_proj") != name.npos)
        return quantizer(linear->name, linear->weight);
    return std::unique_ptr<quant::Quantizer>();
  };
  rounding.done = [](const std::string&, const quant::Encoded&) {};
  quant::GptqOrder order;
  order.damp = 1e-300;
  try {
    round_by_gptq(decoder, tokens_.narrow(0, 0, 1).narrow(1, 0, 2), rounding, order);
    ADD_FAILURE() << "two tokens are enough for all directions";
  } catch (const recipes::UserError& error) {
    EXPECT_EQ(std::string(error.what()).find("model.layers.1.mlp.down_proj.weight: GPTQ"), 0)
        << error.what();
  }
}

TEST_F(Gptq, RefusesALayerThatStillHasAnAdapter) {
  Decoder decoder = load();
  Rounding rounding;
  rounding.quantizer_of = [&](const std::string&) {
    return quantizer("model.layers.0.mlp.up_proj", at::zeros({64, 32}));
  };
  rounding.done = [](const std::string&, const quant::Encoded&) {};
  decoder.linears().front()->adapter = quant::adapters().make_default("lora");
  EXPECT_THROW(round_by_gptq(decoder, tokens_, rounding, {}), c10::Error);
}

}  // namespace
}  // namespace sterna::model
