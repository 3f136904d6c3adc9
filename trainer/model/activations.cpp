#include "trainer/model/activations.h"

#include <sstream>

#include "trainer/io/tensor_file.h"

namespace sterna::model {
namespace {

std::string state_name(const ActSite& site, const quant::NamedTensor& each) {
  return site.name + ".act." + each.name;
}

}  // namespace

std::string act_recipe(const std::string& resolved, const std::string& origin) {
  recipes::Recipe recipe = recipes::Recipe::parse(resolved, origin);
  if (quant::ActPlan::read(recipe.section("act")).empty())
    return "";
  std::ostringstream text;
  recipe.write(text);  // what was read: nothing but this table
  return text.str();
}

void attach_activations(Decoder& decoder, const quant::ActPlan& plan) {
  const std::vector<ActSite> sites = decoder.act_sites();
  std::vector<std::string> names;
  for (const ActSite& site : sites)
    names.push_back(site.name);
  plan.require_matches(names);
  for (const ActSite& site : sites)
    *site.quantizer = plan.build(site.name, site.kind);
  decoder.round_heads_together(plan.heads_together());
}

void attach_activations(Decoder& decoder,
                        const Activations& activations,
                        const std::string& origin) {
  if (activations.recipe.empty())
    return;
  try {
    recipes::Recipe recipe = recipes::Recipe::parse(activations.recipe, "[act]");
    const quant::ActPlan plan = quant::ActPlan::read(recipe.section("act"));
    recipe.reject_unknown();
    attach_activations(decoder, plan);
  } catch (const recipes::UserError& error) {
    throw io::FileError(origin + ": how activations are rounded is not understood: " +
                        error.what() + "; export the run again with this program");
  }
  restore_act_state(decoder, activations.state, origin);
}

void inherit_act_state(Decoder& decoder, const std::map<std::string, Tensor>& learned) {
  for (const auto& [name, target] : act_state(decoder))
    if (const auto found = learned.find(name);
        found != learned.end() && found->second.sizes() == target.sizes())
      Tensor(target).copy_(found->second);
}

void replace_activations(Decoder& decoder, const quant::ActPlan& plan) {
  const std::map<std::string, Tensor> before = act_state(decoder);
  attach_activations(decoder, plan);
  inherit_act_state(decoder, before);
  require_ready(decoder);
}

void require_ready(Decoder& decoder) {
  for (const ActSite& site : decoder.act_sites())
    if (*site.quantizer && !(*site.quantizer)->ready())
      throw recipes::UserError("act: " + site.name +
                               " has learned no range yet: that takes training (`sterna train`); "
                               "\"per_token\" and \"per_tensor\" need none");
}

std::map<std::string, Tensor> act_state(Decoder& decoder) {
  std::map<std::string, Tensor> state;
  for (const ActSite& site : decoder.act_sites()) {
    if (!*site.quantizer)
      continue;
    for (const quant::NamedTensor& each : (*site.quantizer)->buffers())
      state.emplace(state_name(site, each), each.tensor);
  }
  return state;
}

void restore_act_state(Decoder& decoder,
                       const std::map<std::string, Tensor>& stored,
                       const std::string& origin) {
  for (const auto& [name, target] : act_state(decoder)) {
    const auto found = stored.find(name);
    if (found == stored.end() || found->second.sizes() != target.sizes())
      throw io::FileError(origin + ": " + name +
                          (found == stored.end() ? " is absent" : " has another shape") +
                          ", though [act] says that it was learned");
    Tensor(target).copy_(found->second);
  }
}

ActivationsOff::ActivationsOff(Decoder& decoder) : sites_(decoder.act_sites()) {
  for (const ActSite& site : sites_)
    kept_.push_back(std::move(*site.quantizer));
}

ActivationsOff::~ActivationsOff() {
  for (size_t i = 0; i < sites_.size(); ++i)
    *sites_[i].quantizer = std::move(kept_[i]);
}

}  // namespace sterna::model
