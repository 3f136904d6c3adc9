// Weights of GGUF files.
#include "trainer/io/gguf.h"
#include "trainer/model/file_weights.h"
#include "trainer/model/gguf_codes.h"
#include "trainer/model/gguf_names.h"

namespace sterna::model {
namespace {

class GgufWeights final : public FileWeights {
 public:
  GgufWeights(std::unique_ptr<io::Gguf> opened, const DecoderConfig& config)
      : FileWeights(std::move(opened)), names_(config) {
    auto schemes = read_gguf_schemes(dynamic_cast<const io::Gguf&>(file()));
    for (const io::TensorView& view : file().tensors()) {
      if (view.name == "rope_freqs.weight")  // part of the configuration
        continue;
      const std::string name = names_.to_hf(view.name);
      add(name, view);
      const auto scheme = schemes.find(view.name);
      if (scheme != schemes.end())
        schemes_.emplace(name, std::pair(&view, std::move(scheme->second)));
    }
  }

  Tensor take(const std::string& name, at::ScalarType dtype) override {
    Tensor values = names_.rows_to_hf(name, FileWeights::take(name, dtype));
    const auto scheme = schemes_.find(name);
    // A zero times a negative scale is -0, which training never computed with.
    if (scheme != schemes_.end() && scheme->second.second.negated)
      values.add_(0);
    return values;
  }

  std::optional<quant::Encoded> codes(const std::string& name) override {
    const auto found = schemes_.find(name);
    if (found == schemes_.end())
      return std::nullopt;
    const auto& [view, scheme] = found->second;
    quant::Encoded e = read_gguf_codes(*view, scheme, path());
    e.codes = names_.rows_to_hf(name, e.codes);
    e.scales = names_.rows_to_hf(name, e.scales);
    if (e.zeros.defined())
      e.zeros = names_.rows_to_hf(name, e.zeros);
    return e;
  }

  std::map<std::string, std::string> storage() const {
    std::map<std::string, std::string> all;
    for (const io::TensorView& view : file().tensors()) {
      const std::string name = names_.to_hf(view.name);
      if (view.name != "rope_freqs.weight")
        all[name] = schemes_.count(name) != 0 ? "codes" : io::dtype_name(view.dtype);
    }
    return all;
  }

 private:
  GgufNames names_;
  std::map<std::string, std::pair<const io::TensorView*, GgufScheme>> schemes_;
};

}  // namespace

std::unique_ptr<WeightSource> open_gguf_weights(const std::filesystem::path& file,
                                                const DecoderConfig& config) {
  return std::make_unique<GgufWeights>(io::open_gguf(file), config);
}

GgufExport open_gguf_export(const std::filesystem::path& path) {
  auto file = io::open_gguf(path);
  const DecoderConfig config = read_gguf_config(*file);
  GgufWeights source(std::move(file), config);
  GgufExport content{{}, source.storage()};
  for (const std::string& name : source.names()) {
    content.weights.tensors.emplace(name, source.take(name, at::kFloat));
    if (auto codes = source.codes(name))
      content.weights.encoded.emplace(name, std::move(*codes));
  }
  return content;
}

}  // namespace sterna::model
