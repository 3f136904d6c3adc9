#include "trainer/model/plan_fits.h"

#include "recipes/user_error.h"

namespace sterna::model {
namespace {

constexpr int64_t kFewRows = 8;

std::string module_of(const Parameter& p) {
  constexpr std::string_view kSuffix = ".weight";
  return p.name.ends_with(kSuffix) ? p.name.substr(0, p.name.size() - kSuffix.size()) : p.name;
}

quant::Place place_of(const Parameter& p) {
  return p.name.find(".layers.") == std::string::npos ? quant::Place::kOutside
                                                      : quant::Place::kBlock;
}

}  // namespace

void require_plan_fits(const quant::Plan& plan, Decoder& shapes) {
  const std::vector<Parameter> parameters = shapes.parameters();
  std::vector<std::string> modules;
  for (const Parameter& p : parameters) {
    if (p.matrix)
      modules.push_back(module_of(p));
  }
  plan.require_matches(modules);
  for (const Parameter& p : parameters) {
    const auto quantizer = p.matrix ? plan.build(module_of(p), place_of(p)) : nullptr;
    if (!quantizer)
      continue;
    try {
      const Tensor w = at::zeros({std::min(p.shape[0], kFewRows), p.shape[1]}, at::kFloat);
      quantizer->init(w);
      quantizer->encode(w);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(p.name + " [" + std::to_string(p.shape[0]) + ", " +
                               std::to_string(p.shape[1]) + "]: " + error.what());
    }
  }
}

}  // namespace sterna::model
