#include "trainer/run/ranges.h"

#include "recipes/glob.h"
#include "trainer/io/tensor_file.h"
#include "trainer/model/quantizers.h"

namespace sterna::run {
namespace {

/// The keys of `[[kd.range]]` beside the component.
struct RangeConfig {
  std::string match;
  double weight = 1e-3;

  template <class Visitor>
  void fields(Visitor& v) {
    v("match", match, "module paths that the loss is for; * stands for anything");
    v("weight",
      weight,
      "factor of the loss, which is summed over matrices",
      recipes::Range{0.0, 1e6});
  }
};

std::string range_tensor(const std::string& parameter, const std::string& name) {
  return parameter + ".range." + name;
}

}  // namespace

recipes::ComponentInfo range_section() {
  std::vector<recipes::Field> fields = recipes::list_fields<RangeConfig>();
  fields.push_back(recipes::component_field(
      "loss", quant::range_losses(), "", "what keeps these matrices' ranges small; to be given"));
  return {
      "kd.range",
      "[[kd.range]]: losses on the masters' ranges in the end-to-end stage, of matrices that the "
      "step trains; the first table that matches wins",
      fields};
}

RangeRules RangeRules::read(recipes::Section kd) {
  RangeRules rules;
  for (recipes::Section own : kd.tables("range")) {
    const auto config = own.read<RangeConfig>();
    if (config.match.empty())
      own.fail("match", "expected a module path, for example \"*.layers.*\"");
    rules.rules_.push_back({config.match,
                            config.weight,
                            own.where("match"),
                            quant::range_losses().maker(own, "loss")});
  }
  return rules;
}

void RangeRules::require_matches(const std::vector<std::string>& modules) const {
  for (const Rule& rule : rules_) {
    const bool matched = std::any_of(modules.begin(), modules.end(), [&](const auto& module) {
      return recipes::glob_matches(rule.match, module);
    });
    if (!matched)
      throw recipes::RecipeError(rule.where + ": kd.range: \"" + rule.match +
                                 "\" matches no weight matrix of this model; the nearest is '" +
                                 recipes::nearest_to_glob(rule.match, modules) + "'");
  }
}

RangeRules::Loss RangeRules::build(const std::string& module) const {
  for (const Rule& rule : rules_)
    if (recipes::glob_matches(rule.match, module))
      return {rule.weight, rule.make()};
  return {};
}

Ranges::Ranges(const RangeRules& rules, Student& student) {
  const at::NoGradGuard no_grad;
  for (const model::Parameter& parameter : student.decoder().parameters()) {
    const Slot& slot = *student.find(parameter.name);
    if (!parameter.matrix || parameter.adapter || !slot.trains_master || slot.master.numel() == 0)
      continue;
    RangeRules::Loss own = rules.build(model::module_of(slot.name));
    if (!own.loss)
      continue;
    own.loss->init(slot.master.cpu());
    losses_.emplace(slot.name, std::move(own));
  }
}

double Ranges::add(std::vector<Trained>& trained) {
  const at::NoGradGuard no_grad;
  const Tensor nothing = at::empty({0}, at::kFloat);
  double sum = 0;
  std::vector<Trained> learned;
  for (const Trained& t : trained) {
    const auto found = losses_.find(t.name);
    if (found == losses_.end())
      continue;
    auto& [weight, loss] = found->second;
    const bool absent = t.value.numel() == 0;
    const quant::RangeLoss::Result result =
        absent ? quant::RangeLoss::Result() : loss->run(t.value);
    if (!absent)
      Tensor(t.grad).add_(result.w, weight);
    sum += weight * result.loss;
    const std::vector<quant::NamedTensor> parameters = loss->parameters();
    for (size_t i = 0; i < parameters.size(); ++i)
      learned.push_back({range_tensor(t.name, parameters[i].name),
                         absent ? nothing : parameters[i].tensor,
                         absent ? nothing : result.params[i] * weight,
                         {},
                         {},
                         /*quantizer=*/true,
                         /*decays=*/false});
  }
  trained.insert(trained.end(), learned.begin(), learned.end());
  return sum;
}

std::map<std::string, Tensor> Ranges::tensors() {
  std::map<std::string, Tensor> result;
  for (auto& [name, own] : losses_)
    for (const quant::NamedTensor& each : own.loss->parameters())
      result.emplace(range_tensor(name, each.name), each.tensor);
  return result;
}

void Ranges::restore(const std::map<std::string, Tensor>& stored, const std::string& from) {
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors()) {
    const auto found = stored.find(name);
    if (found == stored.end() || found->second.sizes() != tensor.sizes())
      throw io::FileError(from + ": " + name + " is absent, though kd.range of the recipe has it");
    tensor.copy_(found->second);
  }
}

}  // namespace sterna::run
