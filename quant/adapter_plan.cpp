#include "quant/adapter_plan.h"

#include <algorithm>

#include "recipes/glob.h"

namespace sterna::quant {
namespace {

constexpr const char* kNone = "none";

/// The keys of `[adapter]` beside the component.
struct PlanConfig {
  std::vector<std::string> match = {"*"};

  template <class Visitor>
  void fields(Visitor& v) {
    v("match", match, "linear layers of the blocks that get one; * stands for anything");
  }
};

}  // namespace

recipes::ComponentInfo adapter_section() {
  std::vector<recipes::Field> fields = recipes::list_fields<PlanConfig>();
  fields.push_back(recipes::component_field(
      "method", adapters(), kNone, "adapters to train over a frozen base", {kNone}));
  return {"adapter", "small corrections trained over frozen low-bit weights", fields};
}

AdapterPlan AdapterPlan::read(recipes::Section adapter) {
  AdapterPlan plan;
  plan.match_ = adapter.read<PlanConfig>().match;
  plan.where_ = adapter.where("match") + ": '" + adapter.key("match") + "'";
  recipes::Section own = adapter.sub("method");
  const std::string name = own.selected(kNone);
  if (name != kNone)
    plan.make_ = adapters().maker_named(name, own);
  return plan;
}

void AdapterPlan::require_matches(const std::vector<std::string>& modules) const {
  if (empty())
    return;
  for (const std::string& pattern : match_) {
    const bool matched = std::any_of(modules.begin(), modules.end(), [&](const auto& module) {
      return recipes::glob_matches(pattern, module);
    });
    if (!matched)
      throw recipes::RecipeError(where_ + ": \"" + pattern +
                                 "\" matches no linear layer of the blocks; the nearest is '" +
                                 recipes::nearest_to_glob(pattern, modules) + "'");
  }
}

std::unique_ptr<Adapter> AdapterPlan::build(const std::string& module) const {
  if (empty())
    return nullptr;
  const bool wanted = std::any_of(match_.begin(), match_.end(), [&](const auto& pattern) {
    return recipes::glob_matches(pattern, module);
  });
  return wanted ? make_() : nullptr;
}

}  // namespace sterna::quant
