// Layout "sterna": packed codes, scales and scheme as training made them. The layout is described
// in trainer/model/sterna_export.h, beside its reader.
#include <nlohmann/json.hpp>

#include "quant/pack.h"
#include "quant/scale.h"
#include "trainer/export/format.h"
#include "trainer/export/tensors.h"
#include "trainer/io/atomic_file.h"
#include "trainer/model/sterna_export.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Zero points that are codes themselves can be packed like codes.
bool fits_codes(const at::Tensor& zeros, const quant::Encoded& e) {
  const int64_t most = e.code_min + (int64_t{1} << e.bits) - 1;
  return (zeros == zeros.round()).all().item<bool>() && (zeros >= e.code_min).all().item<bool>() &&
         (zeros <= std::min<int64_t>(most, INT8_MAX)).all().item<bool>() &&
         !at::signbit(zeros).logical_and(zeros == 0).any().item<bool>();
}

void add_scales(const std::string& name,
                const at::Tensor& scales,
                at::ScalarType dtype,
                io::SafetensorsStream& file) {
  TORCH_CHECK(scales.dim() == 2, "export: ", name, " are ", scales.sizes());
  put(file, name, scales.to(dtype));
  TORCH_CHECK(same_bits(scales.to(dtype).to(at::kFloat), scales.to(at::kFloat)),
              "export: ",
              name,
              " are not rounded to their declared dtype");
}

json add_codes(const std::string& name, const quant::Encoded& e, io::SafetensorsStream& file) {
  put(file, name + ".codes", quant::pack_codes(e.codes.contiguous(), e.bits, e.code_min));
  add_scales(name + ".scales", e.scales, e.scale_dtype, file);
  if (e.scales_below.defined())
    add_scales(name + ".scales_below", e.scales_below, e.scale_dtype, file);
  std::string zeros = "none";
  if (e.zeros.defined()) {
    const bool packed = fits_codes(e.zeros, e);
    zeros = packed ? "packed" : "F32";
    put(file,
        name + ".zeros",
        packed ? quant::pack_codes(e.zeros.to(at::kChar).contiguous(), e.bits, e.code_min)
               : e.zeros.to(at::kFloat));
  }
  const bool levels = e.grid == quant::Grid::kLevels;
  if (levels)
    put(file, name + ".levels", e.levels.to(at::kFloat));
  json entry = {{"storage", "codes"},
                {"shape", e.codes.sizes().vec()},
                {"grid", levels ? "levels" : "affine"},
                {"bits", e.bits},
                {"code_min", e.code_min},
                {"group", e.group},
                {"offset", e.offset},
                {"scale_dtype", io::dtype_name(file_dtype(e.scale_dtype))},
                {"zeros", zeros}};
  if (e.scales_below.defined())
    entry["scales_below"] = true;
  return entry;
}

class Sterna final : public Format {
 public:
  struct Config {
    std::string dtype_name = "bf16";
    template <class Visitor>
    void fields(Visitor& v) {
      v("dtype",
        dtype_name,
        "of matrices that are not quantized and that no smaller type holds exactly",
        recipes::OneOf{"bf16", "fp16", "fp32"});
    }
  };
  explicit Sterna(const Config& config) : dtype_(quant::parse_dtype(config.dtype_name)) {}

  void write(const ExportSource& source, const fs::path& folder) const override {
    io::SafetensorsStream file(folder / "sterna.safetensors");
    json entries = json::object();
    for (const std::string& name : source.names())
      entries[name] = add(name, source.take(name), file);
    json activations = {{"recipe", source.weights.activations.recipe}, {"tensors", json::array()}};
    for (const auto& [name, tensor] : source.weights.activations.state) {
      put(file, name, tensor);
      activations["tensors"].push_back(name);
    }
    const uint64_t bytes = file.bytes();
    file.finish();
    json root = {{"format", 1},
                 {"layout", "sterna"},
                 {"origin", source.origin},
                 {"bytes", bytes},
                 {"tensors", entries}};
    if (!source.weights.activations.recipe.empty())
      root["activations"] = activations;
    io::write_atomically(folder / "sterna.json", root.dump(1) + "\n");
  }

  bool holds_merged() const override { return false; }

  KeepsActivations activations() const override { return KeepsActivations::kYes; }

  std::string dtype() const override { return "bfloat16"; }

  ReadBack read(const fs::path& folder) const override {
    model::SternaExport content = model::open_sterna_export(folder);
    return {std::move(content.weights), std::move(content.storage)};
  }

  bool recognises(const fs::path& folder) const override { return model::is_sterna_export(folder); }

 private:
  json add(const std::string& name,
           const ExportSource::Weight& weight,
           io::SafetensorsStream& file) const {
    if (weight.codes)
      return add_codes(name, *weight.codes, file);
    const at::Tensor& tensor = weight.values;
    if (const auto blocks = exact_q8_0(tensor)) {
      put(file, name + ".q8_0", *blocks);
      return {{"storage", "q8_0"}, {"shape", tensor.sizes().vec()}};
    }
    put(file, name, round_to(tensor, exact_dtype(tensor, dtype_), name));
    return {{"storage", "plain"}};
  }

  at::ScalarType dtype_;
};

}  // namespace

void add_sterna(recipes::Registry<Format>& registry) {
  registry.add<Sterna>("sterna", "packed codes, scales and scheme, as small as they are");
}

}  // namespace sterna::exporter
