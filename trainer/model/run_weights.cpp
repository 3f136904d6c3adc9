#include "trainer/model/adapters.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::model {

Weights read_run_weights(const CheckpointInfo& info) {
  const at::NoGradGuard no_grad;
  const std::filesystem::path& checkpoint = info.path;
  const Manifest manifest = read_manifest(checkpoint);
  recipes::Recipe recipe =
      recipes::Recipe::parse(manifest.recipe, (checkpoint / "manifest.json").string());
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
  Decoder shapes(info.config, at::kFloat);
  const StoredQuantizers stored(checkpoint, manifest);
  Weights weights;
  weights.tensors = read_kind(checkpoint, manifest, "master");
  for (const Parameter& parameter : shapes.parameters()) {
    const auto quantizer = build_quantizer(plan, parameter);
    if (!quantizer)
      continue;
    Tensor& value = weights.tensors.at(parameter.name);
    stored.restore(*quantizer, parameter.name, value);
    quant::Encoded encoded = quantizer->encode(value);
    stored.require_scales(encoded, parameter.name);
    value = quant::decode(encoded);
    weights.encoded.emplace(parameter.name, std::move(encoded));
  }
  attach_adapters(shapes, quant::AdapterPlan::read(recipe.section("adapter")));
  merge_adapters(shapes, weights);
  return weights;
}

}  // namespace sterna::model
