#include "trainer/model/activations.h"
#include "trainer/model/adapters.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::model {

int64_t step_of_plan(const Manifest& manifest) {
  return manifest.stage == "train" ? std::max<int64_t>(manifest.step - 1, 0) : 0;
}

namespace {

Activations activations_of(const Manifest& manifest,
                           const std::filesystem::path& checkpoint,
                           Decoder& shapes) {
  const std::string origin = (checkpoint / "manifest.json").string();
  Activations activations{act_recipe(manifest.recipe, origin), {}};
  if (activations.recipe.empty())
    return activations;
  activations.state = read_kind(checkpoint, manifest, "buffer");
  attach_activations(shapes, activations, origin);
  activations.state = act_state(shapes);
  return activations;
}

}  // namespace

Weights read_run_weights(const CheckpointInfo& info) {
  const at::NoGradGuard no_grad;
  const std::filesystem::path& checkpoint = info.path;
  const Manifest manifest = read_manifest(checkpoint);
  recipes::Recipe recipe =
      recipes::Recipe::parse(manifest.recipe, (checkpoint / "manifest.json").string());
  const quant::Plan plan = quant::Plan::read(recipe.section("quant")).at(step_of_plan(manifest));
  Decoder shapes(info.config, at::kFloat);
  StoredQuantizers stored(checkpoint, manifest);
  Weights weights;
  weights.tensors = read_kind(checkpoint, manifest, "master");
  if (manifest.state.contains(kUsesAverage) && manifest.state.at(kUsesAverage) != 0) {
    const std::map<std::string, Tensor> average = read_kind(checkpoint, manifest, "ema");
    stored.take(average);
    for (auto& [name, value] : weights.tensors)
      if (const auto found = average.find(name); found != average.end())
        value = found->second;
  }
  for (const Parameter& parameter : shapes.parameters()) {
    const auto quantizer = build_quantizer(plan, parameter);
    if (!quantizer)
      continue;
    const auto found = weights.tensors.find(parameter.name);
    if (found == weights.tensors.end())
      throw io::FileError((checkpoint / "manifest.json").string() + ": lists no master of " +
                          parameter.name + "; use another checkpoint");
    Tensor& value = found->second;
    stored.restore(*quantizer, parameter.name, value);
    quant::Encoded encoded = quantizer->encode(value);
    stored.require_scales(encoded, parameter.name);
    value = quant::decode(encoded);
    weights.encoded.emplace(parameter.name, std::move(encoded));
  }
  weights.activations = activations_of(manifest, checkpoint, shapes);
  attach_adapters(shapes, quant::AdapterPlan::read(recipe.section("adapter")));
  merge_adapters(shapes, weights);
  return weights;
}

}  // namespace sterna::model
