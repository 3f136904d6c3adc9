// GPTQ, checkpoint format "gptq_v2": qweight, qzeros, scales and g_idx beside each other. The
// layout is described at its reader, trainer/model/gptq_matrix.cpp.
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/export/packed_model.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"

namespace sterna::exporter {
namespace {

using nlohmann::json;

constexpr int64_t kWholeWords = 32;  // codes of any size fill so many words

class Gptq final : public PackedFormat {
 public:
  struct Config {
    CommonConfig common;
    std::string activations = "refuse";
    template <class Visitor>
    void fields(Visitor& v) {
      common.fields(v);
      v("activations",
        activations,
        "where [act] rounds activations, which this layout cannot say",
        recipes::OneOf{"refuse", "drop"});
    }
  };
  explicit Gptq(const Config& config)
      : PackedFormat(config.common, "gptq", {2, 3, 4, 8}), drops_(config.activations == "drop") {}

  /// Some readers want the settings in a file of their own.
  void write(const ExportSource& source, const std::filesystem::path& folder) const override {
    PackedFormat::write(source, folder);
    if (!std::filesystem::exists(folder / "config.json"))
      return;
    const json config = io::read_json(folder / "config.json").at("quantization_config");
    io::write_atomically(folder / "quantize_config.json", config.dump(2) + "\n");
  }

  KeepsActivations activations() const override {
    return drops_ ? KeepsActivations::kDropped : KeepsActivations::kRefused;
  }

 protected:
  std::optional<std::string> why_not_matrix(const Prospect::Matrix& matrix) const override {
    if (matrix.n % kWholeWords != 0 || matrix.k % kWholeWords != 0)
      return "expected multiples of 32 outputs and inputs, found " + std::to_string(matrix.n) +
             " and " + std::to_string(matrix.k) + "; \"compressed-tensors\" has no such condition";
    if (matrix.scheme->scale_dtype == at::kFloat)
      return "this layout has scales in fp16, the recipe in fp32; expected scale_dtype = \"bf16\" "
             "or \"fp16\", or \"compressed-tensors\"";
    return std::nullopt;
  }

  std::optional<std::string> why_not_model(const PackedModules& model) const override {
    if (model.packed.empty())
      return std::nullopt;
    const std::string remedy =
        "; this layout has one scheme for all linear layers of the blocks: expected the same for "
        "each, or \"compressed-tensors\"";
    if (!model.plain_in_blocks.empty())
      return "tensor '" + model.plain_in_blocks.front() + ".weight' is in full precision" + remedy;
    const auto& [first, scheme] = *model.packed.begin();
    for (const auto& [module, other] : model.packed)
      if (other != scheme)
        return "tensor '" + module + ".weight' differs in bits, symmetry or group from '" + first +
               ".weight'" + remedy;
    return std::nullopt;
  }

  void pack(const std::string& module,
            const IntegerCodes& codes,
            WeightFiles& files) const override {
    const int64_t n = codes.codes.size(0);
    const int64_t k = codes.codes.size(1);
    const at::Tensor words = packed_words(codes.codes, codes.bits, codes.code_min);
    files.add(module + ".qweight", words.t().contiguous());
    // A symmetric grid's zero point is the code in the middle, which stands for 0.
    const at::Tensor zeros =
        codes.zeros.defined() ? codes.zeros : at::zeros({n, k / codes.group}, at::kChar);
    files.add(module + ".qzeros", packed_words(zeros.t().contiguous(), codes.bits, codes.code_min));
    const at::Tensor scales = codes.scales.to(at::kHalf);
    if (!same_bits(scales.to(at::kFloat), codes.scales.to(at::kFloat)))
      throw recipes::UserError("tensor '" + module +
                               ".weight': has scales beyond fp16's range, the only type of this "
                               "layout; expected \"compressed-tensors\" or \"sterna\"");
    files.add(module + ".scales", scales.t().contiguous());
    files.add(module + ".g_idx", at::arange(k, at::kLong).floor_divide(codes.group).to(at::kInt));
  }

  json settings(const PackedModules& model) const override {
    const PackedModules::Module& scheme = model.packed.begin()->second;
    return {{"quant_method", "gptq"},
            {"bits", scheme.bits},
            {"group_size", scheme.group == 0 ? -1 : scheme.group},
            {"desc_act", false},
            {"sym", scheme.symmetric},
            {"lm_head", false},
            {"checkpoint_format", "gptq_v2"},
            {"pack_dtype", "int32"}};
  }

 private:
  bool drops_;
};

}  // namespace

void add_gptq(recipes::Registry<Format>& registry) {
  registry.add<Gptq>("gptq", "packed integers with fp16 scales, version 2 (real zero points)");
}

}  // namespace sterna::exporter
