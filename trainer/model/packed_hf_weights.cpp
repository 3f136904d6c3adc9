// Folders whose config.json names a packed layout: its matrices one by one, everything else as in
// any folder.
#include "trainer/io/json.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/file_weights.h"
#include "trainer/model/names.h"
#include "trainer/model/packed_matrix.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCodesOfAPiece = int64_t{1} << 18;

HfQuantization settings_of(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  const nlohmann::json config = io::read_json(file);
  return read_hf_quantization(Keys(config, file), file);
}

/// Parts that a packed matrix has beside the tensor that stands for it.
std::vector<std::string> parts_of_layout(HfQuantization::Layout layout) {
  switch (layout) {
    case HfQuantization::Layout::kCompressedTensors:
      return {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"};
    case HfQuantization::Layout::kGptq:
      return {"qweight", "qzeros", "scales", "g_idx"};
    default:
      return {"weight", "weight_scale", "bias"};
  }
}

/// What `read` gives; the pages that it looked at are given back.
template <class Read>
auto reading_parts(const PackedMatrix& matrix, const Read& read) {
  try {
    auto result = read();
    for (const io::TensorView* part : matrix.parts().views())
      io::release_pages(part->bytes);
    return result;
  } catch (const c10::Error& error) {
    matrix.parts().refuse("weight",
                          std::string("its codes are damaged: ") + error.what_without_backtrace());
  }
}

class PackedHfWeights final : public FileWeights {
 public:
  PackedHfWeights(const fs::path& folder, const std::string& family)
      : FileWeights(io::open_safetensors(folder)), settings_(settings_of(folder)) {
    const FamilyNames& names = names_of(family);
    const std::map<std::string, ModuleParts> modules = packed_modules(names);
    for (const auto& [module, parts] : modules)
      packed_.emplace(module + ".weight", open(parts));
    for (const io::TensorView& view : file().tensors()) {
      const std::string name = parameter_name(names, view.name);
      if (!name.empty() && (name.ends_with(".bias") || !is_part(modules, name)))
        add(name, view);
    }
    require_inputs(names);
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> all = FileWeights::names();
    for (const auto& [name, matrix] : packed_)
      all.push_back(name);
    return all;
  }

  std::vector<int64_t> shape(const std::string& name) const override {
    const auto found = packed_.find(name);
    if (found == packed_.end())
      return FileWeights::shape(name);
    return {found->second->n(), found->second->k()};
  }

  Tensor take(const std::string& name, at::ScalarType dtype) override {
    const auto found = packed_.find(name);
    if (found == packed_.end())
      return FileWeights::take(name, dtype);
    const PackedMatrix& matrix = *found->second;
    const int64_t step = std::max<int64_t>(kCodesOfAPiece / matrix.k(), 1);
    return reading_parts(matrix, [&] {
      Tensor values = at::empty({matrix.n(), matrix.k()}, dtype);
      const quant::Encoded tables = finite_tables(matrix);
      for (int64_t first = 0; first < matrix.n(); first += step) {
        Tensor rows = values.narrow(0, first, std::min(step, matrix.n() - first));
        quant::decode_into(rows_of_matrix(matrix, tables, first, rows.size(0)), rows);
      }
      return values;
    });
  }

  std::optional<quant::Encoded> codes(const std::string& name) override {
    const auto found = packed_.find(name);
    if (found == packed_.end())
      return std::nullopt;
    const PackedMatrix& matrix = *found->second;
    return reading_parts(
        matrix, [&] { return rows_of_matrix(matrix, finite_tables(matrix), 0, matrix.n()); });
  }

  Activations activations() override {
    return {rounds_inputs_ ? int8_token_recipe() : std::string(), {}};
  }

 private:
  std::unique_ptr<PackedMatrix> open(const ModuleParts& parts) const {
    switch (settings_.layout) {
      case HfQuantization::Layout::kCompressedTensors:
        return open_ct_matrix(parts, settings_);
      case HfQuantization::Layout::kGptq:
        return open_gptq_matrix(parts, settings_);
      default:
        return open_bitnet_matrix(parts, settings_);
    }
  }

  bool stands_for_matrix(const io::TensorView& view, const std::string& part) const {
    switch (settings_.layout) {
      case HfQuantization::Layout::kCompressedTensors:
        return part == "weight_packed";
      case HfQuantization::Layout::kGptq:
        return part == "qweight";
      default:
        return part == "weight" && view.dtype == io::Dtype::kU8;
    }
  }

  /// "model.layers.0.mlp.up_proj" and "weight_packed"
  static std::pair<std::string, std::string> split(const std::string& name) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos)
      return {"", name};
    return {name.substr(0, dot), name.substr(dot + 1)};
  }

  std::map<std::string, ModuleParts> packed_modules(const FamilyNames& names) const {
    std::map<std::string, ModuleParts> modules;
    for (const io::TensorView& view : file().tensors()) {
      const auto [module, part] = split(parameter_name(names, view.name));
      if (stands_for_matrix(view, part))
        modules.emplace(module, ModuleParts(path(), module));
    }
    const std::vector<std::string> known = parts_of_layout(settings_.layout);
    for (const io::TensorView& view : file().tensors()) {
      const auto [module, part] = split(parameter_name(names, view.name));
      const auto found = modules.find(module);
      if (found != modules.end() && std::find(known.begin(), known.end(), part) != known.end())
        found->second.add(part, view);
    }
    return modules;
  }

  static bool is_part(const std::map<std::string, ModuleParts>& modules, const std::string& name) {
    const auto [module, part] = split(name);
    const auto found = modules.find(module);
    return found != modules.end() && found->second.find(part) != nullptr;
  }

  /// Rounding is all or nothing: of every linear layer of the blocks, of none elsewhere.
  void require_inputs(const FamilyNames& names) {
    std::string rounding, plain;
    for (const auto& [name, matrix] : packed_) {
      const std::string& module = matrix->parts().module();
      const bool rounds = settings_.scheme_of(module).rounds_inputs;
      if (rounds && !name.starts_with(names.block))
        refuse_inputs(name, "is outside the blocks, where inputs are not rounded");
      (rounds ? rounding : plain) = name;
    }
    for (const std::string& name : FileWeights::names())
      if (name.starts_with(names.block) && FileWeights::shape(name).size() == 2)
        plain = name;
    if (!rounding.empty() && !plain.empty() && plain.starts_with(names.block))
      refuse_inputs(rounding, "reads int8 and '" + plain + "' does not");
    rounds_inputs_ = !rounding.empty();
  }

  [[noreturn]] void refuse_inputs(const std::string& name, const std::string& what) const {
    throw io::FileError(settings_.file.string() + ": 'quantization_config': '" + name + "' " +
                        what + "; expected int8 inputs of all linear layers of the blocks or none");
  }

  static quant::Encoded finite_tables(const PackedMatrix& matrix) {
    quant::Encoded tables = matrix.tables();
    if (!tables.scales.isfinite().all().item<bool>())
      matrix.parts().refuse("weight", "its scales hold NaN or Inf");
    return tables;
  }

  static quant::Encoded rows_of_matrix(const PackedMatrix& matrix,
                                       quant::Encoded tables,
                                       int64_t first,
                                       int64_t count) {
    for (Tensor* of_rows : {&tables.scales, &tables.zeros})
      if (of_rows->defined() && of_rows->numel() > 1)
        *of_rows = of_rows->narrow(0, first, count);
    tables.codes = matrix.rows(first, count);
    return tables;
  }

  HfQuantization settings_;
  std::map<std::string, std::unique_ptr<PackedMatrix>> packed_;
  bool rounds_inputs_ = false;
};

}  // namespace

std::unique_ptr<WeightSource> open_packed_hf_weights(const fs::path& folder,
                                                     const std::string& family) {
  if (names_of(family).conv1d)
    throw io::FileError(folder.string() + ": packed matrices of the family '" + family +
                        "' are not read; give the original");
  return std::make_unique<PackedHfWeights>(folder, family);
}

}  // namespace sterna::model
