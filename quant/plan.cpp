#include "quant/plan.h"

#include "recipes/glob.h"

namespace sterna::quant {
namespace {

constexpr const char* kNone = "none";

/// The keys of `[[quant.rule]]` beside the component.
struct RuleConfig {
  std::string match;

  template <class Visitor>
  void fields(Visitor& v) {
    v("match", match, "module paths that the rule is for; * stands for anything");
  }
};

/// The keys of `[[quant.stage]]` beside the component.
struct StageConfig {
  int64_t until = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("until",
      until,
      "first step of the end-to-end stage that this is no longer for; to be given",
      recipes::Range{int64_t{0}, int64_t{1} << 40});
  }
};

}  // namespace

std::vector<recipes::ComponentInfo> plan_sections() {
  std::vector<recipes::Field> rule = recipes::list_fields<RuleConfig>();
  rule.push_back(recipes::component_field(
      "weight", quantizers(), "", "quantizer of these matrices; to be given", {kNone}));
  std::vector<recipes::Field> stage = recipes::list_fields<StageConfig>();
  stage.push_back(recipes::component_field(
      "weight", quantizers(), "", "stands in for quant.weight meanwhile; to be given", {kNone}));
  std::vector<recipes::Field> quant = recipes::list_fields<BudgetConfig>();
  quant.insert(
      quant.begin(),
      recipes::component_field("weight",
                               quantizers(),
                               kNone,
                               "quantizer of every matrix of the blocks that no rule matches",
                               {kNone}));
  return {{"quant", "how weights are rounded", quant},
          {"quant.rule",
           "[[quant.rule]]: other matrices, other quantizers; the first rule that matches wins",
           rule},
          {"quant.stage", "[[quant.stage]]: more bits for the first steps, then fewer", stage}};
}

Plan::Entry Plan::read_entry(recipes::Section section,
                             const recipes::Registry<Quantizer>& registry,
                             const char* fallback) {
  Entry entry;
  recipes::Section own = section.sub("weight");
  entry.scheme = own.selected(fallback);
  if (entry.scheme != kNone)
    entry.make = registry.maker_named(entry.scheme, own);
  return entry;
}

Plan Plan::read(recipes::Section quant, const recipes::Registry<Quantizer>& registry) {
  Plan plan;
  plan.default_ = read_entry(quant, registry, kNone);
  plan.budget_ = read_budget(quant, registry);
  for (recipes::Section rule : quant.tables("rule")) {
    const std::string match = rule.read<RuleConfig>().match;
    if (match.empty())
      rule.fail("match", "expected a module path, for example \"*.down_proj\"");
    Entry entry = read_entry(rule, registry, "");
    entry.match = match;
    entry.where = rule.where("match") + ": '" + rule.key("match") + "'";
    plan.rules_.push_back(std::move(entry));
  }
  for (recipes::Section stage : quant.tables("stage")) {
    const int64_t until = stage.read<StageConfig>().until;
    if (until <= plan.stages_end())
      stage.fail("until",
                 "expected a step behind " + std::to_string(plan.stages_end()) +
                     ", where the stage before ends, found " + std::to_string(until));
    plan.stages_.emplace_back(until, read_entry(stage, registry, ""));
  }
  return plan;
}

size_t Plan::stage_at(int64_t step) const {
  size_t stage = 0;
  while (stage < stages_.size() && step >= stages_[stage].first)
    ++stage;
  return stage;
}

int64_t Plan::stages_end() const {
  return stages_.empty() ? 0 : stages_.back().first;
}

Plan Plan::at(int64_t step) const {
  Plan plan = *this;
  const size_t stage = stage_at(step);
  if (stage < stages_.size())
    plan.default_ = stages_[stage].second;
  plan.stages_.clear();
  return plan;
}

void Plan::require_matches(const std::vector<std::string>& modules) const {
  for (const Entry& rule : rules_) {
    bool matched = false;
    for (const std::string& module : modules)
      matched = matched || recipes::glob_matches(rule.match, module);
    if (!matched)
      throw recipes::RecipeError(rule.where + ": \"" + rule.match +
                                 "\" matches no weight matrix of this model; the nearest is '" +
                                 recipes::nearest_to_glob(rule.match, modules) + "'");
  }
}

const Plan::Entry* Plan::entry_of(const std::string& module, Place place) const {
  for (const Entry& rule : rules_) {
    if (recipes::glob_matches(rule.match, module))
      return &rule;
  }
  return place == Place::kBlock ? &default_ : nullptr;
}

std::unique_ptr<Quantizer> Plan::build(const std::string& module, Place place) const {
  const Entry* entry = entry_of(module, place);
  return entry == nullptr || !entry->make ? nullptr : entry->make();
}

bool Plan::is_default(const std::string& module, Place place) const {
  return entry_of(module, place) == &default_;
}

std::string Plan::rule_of(const std::string& module, Place place) const {
  const Entry* entry = entry_of(module, place);
  if (entry == nullptr)
    return "outside the blocks";
  if (entry == &default_)
    return "default";
  return "rule " + std::to_string(entry - rules_.data() + 1) + ": " + entry->match;
}

std::string Plan::scheme_of(const std::string& module, Place place) const {
  const Entry* entry = entry_of(module, place);
  return entry == nullptr ? kNone : entry->scheme;
}

bool Plan::empty() const {
  for (const auto& [until, entry] : stages_) {
    if (entry.make)
      return false;
  }
  for (const Entry& rule : rules_) {
    if (rule.make)
      return false;
  }
  return !default_.make;
}

}  // namespace sterna::quant
