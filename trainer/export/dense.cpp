// Dense de-quantised weights as Hugging Face checkpoints have them: model.safetensors in one dtype.
#include <nlohmann/json.hpp>

#include "quant/scale.h"
#include "recipes/user_error.h"
#include "trainer/export/format.h"
#include "trainer/export/tensors.h"
#include "trainer/io/json.h"
#include "trainer/model/names.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;

std::string family_of(const fs::path& folder) {
  const nlohmann::json config = io::read_json(folder / "config.json");
  const auto type = config.is_object() ? config.find("model_type") : config.end();
  if (type == config.end() || !type->is_string() || !model::is_family(*type))
    throw recipes::UserError((folder / "config.json").string() +
                             ": 'model_type': expected a family that is supported, found " +
                             (type == config.end() ? "none" : type->dump()));
  return *type;
}

// The way round that the family's folders have it; the same turn leads back.
at::Tensor as_stored(const std::string& family, const std::string& name, const at::Tensor& w) {
  return model::stored_transposed(family, name) && w.dim() == 2 ? w.t().contiguous() : w;
}

class Dense final : public Format {
 public:
  struct Config {
    std::string dtype_name = "bf16";
    std::string activations = "refuse";
    template <class Visitor>
    void fields(Visitor& v) {
      v("dtype", dtype_name, "how every weight is stored", recipes::OneOf{"bf16", "fp16", "fp32"});
      v("activations",
        activations,
        "where [act] rounds activations, which this layout cannot say",
        recipes::OneOf{"refuse", "drop"});
    }
  };
  explicit Dense(const Config& config)
      : dtype_(quant::parse_dtype(config.dtype_name)), drops_(config.activations == "drop") {}

  void write(const ExportSource& source, const fs::path& folder) const override {
    io::SafetensorsStream file(folder / "model.safetensors");
    for (const std::string& name : source.names()) {
      const at::Tensor values = source.take(name).values;
      put(file, name, round_to(as_stored(source.config.family, name, values), dtype_, name));
    }
    file.finish();
  }

  KeepsActivations activations() const override {
    return drops_ ? KeepsActivations::kDropped : KeepsActivations::kRefused;
  }

  std::string dtype() const override {
    return dtype_ == at::kFloat ? "float32" : dtype_ == at::kHalf ? "float16" : "bfloat16";
  }

  ReadBack read(const fs::path& folder) const override {
    const auto file = io::open_safetensors(folder);
    const std::string family = family_of(folder);
    ReadBack result;
    for (const io::TensorView& view : file->tensors()) {
      at::Tensor values = at::empty(view.shape, at::kFloat);
      io::to_float(view, {values.mutable_data_ptr<float>(), view.elements()});
      result.weights.tensors[view.name] = as_stored(family, view.name, values);
      result.storage[view.name] = io::dtype_name(view.dtype);
    }
    return result;
  }

  bool recognises(const fs::path& folder) const override {
    return fs::exists(folder / "model.safetensors") ||
           fs::exists(folder / "model.safetensors.index.json");
  }

 private:
  at::ScalarType dtype_;
  bool drops_;
};

}  // namespace

void add_dense(recipes::Registry<Format>& registry) {
  registry.add<Dense>("dense", "de-quantised weights in a Hugging Face folder");
}

}  // namespace sterna::exporter
