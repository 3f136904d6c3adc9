#include "trainer/export/packed_model.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "quant/scale.h"
#include "recipes/user_error.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/hf_quantization.h"
#include "trainer/model/names.h"
#include "trainer/model/packed_matrix.h"
#include "trainer/model/quantizers.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;

bool in_block(const model::DecoderConfig& config, const std::string& name) {
  return name.starts_with(model::names_of(config.family).block);
}

bool is_linear(const model::DecoderConfig& config, const Prospect::Matrix& matrix) {
  const model::FamilyNames& names = model::names_of(config.family);
  const std::string module = model::module_of(matrix.tensor);
  return module != names.embedding && module != names.positions;
}

}  // namespace

void PackedModules::settle() {
  std::set<int64_t> groups;
  for (const auto& [module, scheme] : packed)
    groups.insert(scheme.group);
  for (auto& [module, scheme] : packed)
    if (scheme.group == 0 && groups.contains(inputs.at(module)))
      scheme.group = inputs.at(module);
}

PackedFormat::PackedFormat(const CommonConfig& config,
                           std::string method,
                           std::vector<int64_t> containers)
    : dtype_(quant::parse_dtype(config.dtype_name)),
      shard_mb_(config.shard_mb),
      method_(std::move(method)),
      containers_(std::move(containers)) {}

bool PackedFormat::packs(const model::DecoderConfig& config, const std::string& name) const {
  return in_block(config, name) || (packs_head() && name == "lm_head.weight" && !config.tied);
}

std::optional<std::string> PackedFormat::refusal(const model::DecoderConfig& config,
                                                 const Prospect::Matrix& matrix) const {
  if (!matrix.scheme || !packs(config, matrix.tensor))
    return std::nullopt;
  std::optional<std::string> why = why_no_integers(*matrix.scheme, containers_);
  if (!why && model::names_of(config.family).conv1d)
    why = "the family '" + config.family +
          "' has no linear layers that this layout's readers know; expected \"sterna\" or "
          "\"dense\"";
  if (!why)
    why = why_not_matrix(matrix);
  if (why)
    why = "tensor '" + matrix.tensor + "': " + *why;
  return why;
}

void PackedFormat::note(const model::DecoderConfig& config,
                        const Prospect::Matrix& matrix,
                        PackedModules& modules) const {
  const std::string module = model::module_of(matrix.tensor);
  if (matrix.scheme && packs(config, matrix.tensor)) {
    const quant::Encoded& e = *matrix.scheme;
    const bool row = e.scales.numel() == 1 || e.group == matrix.k;
    modules.packed[module] = {container_of(e, containers_),
                              !e.zeros.defined(),
                              row ? 0 : e.group,
                              in_block(config, matrix.tensor)};
    modules.inputs[module] = matrix.k;
  } else if (is_linear(config, matrix)) {
    modules.plain.push_back(module);
    if (in_block(config, matrix.tensor))
      modules.plain_in_blocks.push_back(module);
  }
}

std::optional<std::string> PackedFormat::why_not(const Prospect& prospect) const {
  if (const auto why = Format::why_not(prospect))
    return why;
  PackedModules modules;
  modules.activations = prospect.activations;
  for (const Prospect::Matrix& matrix : prospect.matrices) {
    if (const auto why = refusal(prospect.config, matrix))
      return why;
    note(prospect.config, matrix, modules);
  }
  modules.settle();
  return why_not_model(modules);
}

void PackedFormat::write(const ExportSource& source, const fs::path& folder) const {
  const std::vector<std::string> names = source.names();
  PackedModules modules;
  modules.activations = source.weights.activations.recipe;
  WeightFiles files(folder, shard_mb_);
  for (const std::string& name : names) {
    ExportSource::Weight weight = source.take(name);
    const bool codes = weight.codes && packs(source.config, name);
    if (weight.values.dim() == 2 && name.ends_with(".weight")) {
      const std::string bias = model::module_of(name) + ".bias";
      const Prospect::Matrix matrix{name,
                                    weight.values.size(0),
                                    weight.values.size(1),
                                    std::find(names.begin(), names.end(), bias) != names.end(),
                                    weight.codes};
      if (const auto why = refusal(source.config, matrix))
        throw recipes::UserError(*why);
      note(source.config, matrix, modules);
    }
    // A quantized embedding has exact values or its full width, never a rounded one.
    const at::ScalarType dtype =
        codes ? at::kFloat : exact_dtype(weight.values, weight.codes ? at::kFloat : dtype_);
    if (codes)
      pack(model::module_of(name), integer_codes(*weight.codes, containers_, name), files);
    else
      files.add(name, round_to(weight.values, dtype, name));
  }
  modules.settle();
  if (const auto why = why_not_model(modules))
    throw recipes::UserError(*why);
  files.finish();
  if (modules.packed.empty())
    return;
  const nlohmann::json config = {{"quantization_config", settings(modules)}};
  io::write_atomically(folder / "config.json", config.dump(2) + "\n");
}

std::string PackedFormat::dtype() const {
  return dtype_ == at::kFloat ? "float32" : dtype_ == at::kHalf ? "float16" : "bfloat16";
}

ReadBack PackedFormat::read(const fs::path& folder) const {
  const auto source = model::open_packed_hf_weights(folder, family_of(folder));
  ReadBack back{model::read_all(*source, source->names()), {}};
  const auto file = io::open_safetensors(folder);
  for (const io::TensorView& view : file->tensors())
    back.storage[view.name] = io::dtype_name(view.dtype);
  for (const auto& [name, codes] : back.weights.encoded)
    back.storage[name] = kCodesIn + std::to_string(codes.bits) + " bits";
  return back;
}

bool PackedFormat::recognises(const fs::path& folder) const {
  return has_weight_files(folder) && model::hf_quant_method(folder) == method_;
}

}  // namespace sterna::exporter
