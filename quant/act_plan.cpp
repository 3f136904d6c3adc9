#include "quant/act_plan.h"

#include <algorithm>

#include "recipes/glob.h"

namespace sterna::quant {
namespace {

constexpr const char* kNone = "none";

/// The keys of `[act]` beside the components.
struct ActConfig {
  std::string kv_scope = "head";

  template <class Visitor>
  void fields(Visitor& v) {
    v("kv_scope",
      kv_scope,
      "what one token of keys and values is: a head's vector, or that of all heads",
      recipes::OneOf{"head", "token"});
  }
};

/// The keys of `[[act.rule]]` beside the component.
struct RuleConfig {
  std::string match;

  template <class Visitor>
  void fields(Visitor& v) {
    v("match", match, "modules, or \"*.key\" and \"*.value\"; * stands for anything");
  }
};

recipes::Field field(const char* key, const char* fallback, const char* help) {
  return recipes::component_field(key, act_quantizers(), fallback, help, {kNone});
}

}  // namespace

std::vector<recipes::ComponentInfo> act_sections() {
  std::vector<recipes::Field> act = {
      field("input", kNone, "what the linear layers of the blocks read"),
      field("key", kNone, "keys, before RoPE and before they are cached"),
      field("value", kNone, "values, before they are cached")};
  for (const recipes::Field& each : recipes::list_fields<ActConfig>())
    act.push_back(each);
  std::vector<recipes::Field> rule = recipes::list_fields<RuleConfig>();
  rule.push_back(field("quantizer", "", "of these sites; to be given"));
  return {{"act", "how activations are rounded", act},
          {"act.rule",
           "[[act.rule]]: other sites, other quantizers; the first that matches wins",
           rule}};
}

ActPlan::Entry ActPlan::read_entry(const recipes::Section& section,
                                   const char* key,
                                   const char* fallback) {
  Entry entry;
  recipes::Section own = section.sub(key);
  entry.scheme = own.selected(fallback);
  if (entry.scheme == kNone)
    return entry;
  entry.make = act_quantizers().maker_named(entry.scheme, own);
  try {
    entry.scheme += " " + std::to_string(entry.make()->bits());
  } catch (const recipes::UserError& error) {
    section.fail(key, error.what());
  }
  return entry;
}

ActPlan ActPlan::read(recipes::Section act) {
  ActPlan plan;
  plan.heads_together_ = act.read<ActConfig>().kv_scope == "token";
  plan.input_ = read_entry(act, "input", kNone);
  plan.key_ = read_entry(act, "key", kNone);
  plan.value_ = read_entry(act, "value", kNone);
  for (recipes::Section rule : act.tables("rule")) {
    const std::string match = rule.read<RuleConfig>().match;
    if (match.empty())
      rule.fail("match", "expected a module path, for example \"*.down_proj\"");
    Entry entry = read_entry(rule, "quantizer", "");
    entry.match = match;
    entry.where = rule.where("match") + ": '" + rule.key("match") + "'";
    plan.rules_.push_back(std::move(entry));
  }
  return plan;
}

bool ActPlan::empty() const {
  return !input_.make && !key_.make && !value_.make &&
         std::none_of(rules_.begin(), rules_.end(), [](const Entry& rule) {
           return static_cast<bool>(rule.make);
         });
}

void ActPlan::require_matches(const std::vector<std::string>& sites) const {
  for (const Entry& rule : rules_) {
    const bool matched = std::any_of(sites.begin(), sites.end(), [&](const std::string& site) {
      return recipes::glob_matches(rule.match, site);
    });
    if (!matched)
      throw recipes::RecipeError(rule.where + ": \"" + rule.match +
                                 "\" matches no input of a linear layer of the blocks, no keys and "
                                 "no values of this model; the nearest is '" +
                                 recipes::nearest_to_glob(rule.match, sites) + "'");
  }
}

const ActPlan::Entry& ActPlan::entry_of(const std::string& site, ActKind kind) const {
  for (const Entry& rule : rules_) {
    if (recipes::glob_matches(rule.match, site))
      return rule;
  }
  return kind == ActKind::kInput ? input_ : kind == ActKind::kKey ? key_ : value_;
}

std::unique_ptr<ActQuantizer> ActPlan::build(const std::string& site, ActKind kind) const {
  const Entry& entry = entry_of(site, kind);
  return entry.make ? entry.make() : nullptr;
}

std::string ActPlan::scheme_of(const std::string& site, ActKind kind) const {
  return entry_of(site, kind).scheme;
}

}  // namespace sterna::quant
