// The student of a run's checkpoint, one matrix after the other.
#include "trainer/model/activations.h"
#include "trainer/model/adapters.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {

int64_t step_of_plan(const Manifest& manifest) {
  return manifest.stage == "train" ? std::max<int64_t>(manifest.step - 1, 0) : 0;
}

namespace {

namespace fs = std::filesystem;

class RunWeights final : public WeightSource {
 public:
  explicit RunWeights(const CheckpointInfo& info)
      : manifest_(read_manifest(info.path)),
        origin_((info.path / "manifest.json").string()),
        tensors_(info.path, manifest_),
        stored_(tensors_),
        shapes_(info.config, at::kFloat) {
    recipes::Recipe recipe = recipes::Recipe::parse(manifest_.recipe, origin_);
    plan_ = quant::Plan::read(recipe.section("quant")).at(step_of_plan(manifest_));
    const auto averaged = manifest_.state.find(kUsesAverage);
    if (averaged != manifest_.state.end() && averaged->second != 0)
      tensors_.use_averages();
    attach_adapters(shapes_, quant::AdapterPlan::read(recipe.section("adapter")));
    for (const Parameter& parameter : shapes_.parameters())
      parameters_.emplace(parameter.name, parameter);
    for (quant::Linear* linear : shapes_.linears())
      if (linear->adapter)
        adapted_.emplace(linear->name + ".weight", linear);
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> all = tensors_.names("master");
    std::erase_if(all, [&](const std::string& name) {
      const auto found = parameters_.find(name);
      return found != parameters_.end() && found->second.adapter;
    });
    return all;
  }

  std::vector<int64_t> shape(const std::string& name) const override { return master(name).shape; }

  Tensor take(const std::string& name, at::ScalarType dtype) override {
    const at::NoGradGuard no_grad;
    const std::optional<quant::Encoded> encoded = encode(name);
    if (!merged(name))
      return encoded ? quant::decode(*encoded, dtype) : read(name).to(dtype);
    const Tensor value = encoded ? quant::decode(*encoded) : read(name);
    const auto matrix = [&](const std::string& each) { return read(each); };
    return (value + learned_delta(*adapted_.at(name), matrix)).to(dtype);
  }

  std::optional<quant::Encoded> codes(const std::string& name) override {
    const at::NoGradGuard no_grad;
    return merged(name) ? std::nullopt : encode(name);
  }

  bool merged(const std::string& name) const override { return adapted_.contains(name); }

  Activations activations() override {
    Activations activations{act_recipe(manifest_.recipe, origin_), {}};
    if (activations.recipe.empty())
      return activations;
    for (const std::string& name : tensors_.names("buffer"))
      if (name.find(".act.") != std::string::npos)
        activations.state.emplace(name, tensors_.read(*tensors_.find("buffer", name)));
    attach_activations(shapes_, activations, origin_);
    activations.state = act_state(shapes_);
    return activations;
  }

  fs::path path() const override { return tensors_.checkpoint(); }

 private:
  const CheckpointTensor& master(const std::string& name) const {
    const CheckpointTensor* found = tensors_.find("master", name);
    if (found == nullptr)
      throw io::FileError(origin_ + ": lists no master of " + name + "; use another checkpoint");
    return *found;
  }

  Tensor read(const std::string& name) const { return tensors_.read(master(name)); }

  std::optional<quant::Encoded> encode(const std::string& name) const {
    const auto quantizer = build_quantizer(plan_, parameters_.at(name));
    if (!quantizer)
      return std::nullopt;
    const Tensor value = read(name);
    stored_.restore(*quantizer, name, value);
    quant::Encoded encoded = quantizer->encode(value);
    stored_.require_scales(encoded, name);
    return encoded;
  }

  Manifest manifest_;
  std::string origin_;
  CheckpointTensors tensors_;
  StoredQuantizers stored_;
  Decoder shapes_;  // without weights
  quant::Plan plan_;
  std::map<std::string, Parameter> parameters_;    // of shapes_
  std::map<std::string, quant::Linear*> adapted_;  // weights that an adapter is merged into
};

}  // namespace

std::unique_ptr<WeightSource> open_run_weights(const CheckpointInfo& info) {
  return std::make_unique<RunWeights>(info);
}

}  // namespace sterna::model
