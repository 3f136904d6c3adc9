#include <sstream>

#include "quant/plan.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;
using Named = std::map<std::string, Tensor>;

constexpr std::string_view kWeight = ".weight";

std::string module_of(const std::string& name) {
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

const Tensor& need(const Named& tensors, const std::string& name, const fs::path& checkpoint) {
  const auto at = tensors.find(name);
  if (at == tensors.end())
    throw io::FileError(checkpoint.string() + ": " + name +
                        " is absent, though the recipe's quantizer has it");
  return at->second;
}

struct Stored {
  Named learned;
  Named buffers;
};

/// Quantizer of one matrix as it was when the checkpoint was written.
void restore(quant::Quantizer& quantizer,
             const std::string& name,
             const Tensor& master,
             const Stored& stored,
             const fs::path& checkpoint) {
  quantizer.init(master);  // gives the tensors their shapes
  for (const quant::NamedTensor& each : quantizer.parameters())
    Tensor(each.tensor).copy_(need(stored.learned, name + ".quant." + each.name, checkpoint));
  for (const quant::NamedTensor& each : quantizer.buffers())
    Tensor(each.tensor).copy_(need(stored.buffers, name + ".quant." + each.name, checkpoint));
}

void require_stored_scales(const quant::Encoded& encoded,
                           const std::string& name,
                           const Stored& stored,
                           const fs::path& checkpoint) {
  const bool scales =
      at::equal(encoded.scales, need(stored.buffers, name + ".quant.scales_in_use", checkpoint));
  const bool zeros =
      !encoded.zeros.defined() ||
      at::equal(encoded.zeros, need(stored.buffers, name + ".quant.zeros_in_use", checkpoint));
  if (!scales || !zeros)
    throw io::FileError(checkpoint.string() + ": " + name + ": this program computes other " +
                        (scales ? "zero points" : "scales") +
                        " than the one that trained it stored; use the version that the manifest "
                        "names");
}

}  // namespace

Weights read_run_weights(const CheckpointInfo& info) {
  const at::NoGradGuard no_grad;
  const fs::path& checkpoint = info.path;
  const Manifest manifest = read_manifest(checkpoint);
  recipes::Recipe recipe =
      recipes::Recipe::parse(manifest.recipe, (checkpoint / "manifest.json").string());
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
  Decoder shapes(info.config, at::kFloat);
  const Stored stored{read_kind(checkpoint, manifest, "quant"),
                      read_kind(checkpoint, manifest, "buffer")};
  Weights weights;
  weights.tensors = read_kind(checkpoint, manifest, "master");
  bool in_blocks = false;  // the embedding stands before the blocks, the head behind them
  const std::string head = shapes.head_linear().name;
  for (const Parameter& parameter : shapes.parameters()) {
    if (!parameter.matrix)
      continue;
    const std::string module = module_of(parameter.name);
    const bool outside = !in_blocks || module == head;
    in_blocks = true;
    const auto quantizer =
        plan.build(module, outside ? quant::Place::kOutside : quant::Place::kBlock);
    if (!quantizer)
      continue;
    Tensor& value = weights.tensors.at(parameter.name);
    restore(*quantizer, parameter.name, value, stored, checkpoint);
    quant::Encoded encoded = quantizer->encode(value);
    require_stored_scales(encoded, parameter.name, stored, checkpoint);
    value = quant::decode(encoded);
    weights.encoded.emplace(parameter.name, std::move(encoded));
  }
  return weights;
}

}  // namespace sterna::model
