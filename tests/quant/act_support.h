#pragma once

#include <memory>
#include <string>

#include "quant/act_quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {

/// make_act("per_token", "bits = 4"): the fields as a recipe writes them.
inline std::shared_ptr<ActQuantizer> make_act(const std::string& name,
                                              const std::string& fields = "") {
  auto recipe = recipes::Recipe::parse(
      "[act]\ninput = { name = \"" + name + "\"" + (fields.empty() ? "" : ", " + fields) + " }\n",
      "test");
  return act_quantizers().build(recipe.section("act"), "input");
}

/// Ends a training step that saw these activations.
inline void train_on(ActQuantizer& act, const Tensor& x) {
  act.start_step();
  act.forward(x);
  act.end_step(act.seen());
}

}  // namespace sterna::quant
