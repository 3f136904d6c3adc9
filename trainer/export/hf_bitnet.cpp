// BitNet as transformers loads it (linear_class "autobitlinear", offline): weight U8 and
// weight_scale. The layout is described at its reader, trainer/model/bitnet_matrix.cpp. The other
// class, "bitlinear", stores 1 / scale, which is exact for powers of two alone.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/export/packed_model.h"
#include "trainer/model/hf_quantization.h"

namespace sterna::exporter {
namespace {

using nlohmann::json;

constexpr int64_t kRowsOfByte = 4;

class HfBitnet final : public PackedFormat {
 public:
  struct Config {
    CommonConfig common;
    std::string activations = "refuse";
    template <class Visitor>
    void fields(Visitor& v) {
      common.fields(v);
      v("activations",
        activations,
        "readers round what linear layers read to int8 by token; int8: also where [act] does not",
        recipes::OneOf{"refuse", "int8"});
    }
  };
  explicit HfBitnet(const Config& config)
      : PackedFormat(config.common, "bitnet", {2}), any_(config.activations == "int8") {}

  KeepsActivations activations() const override { return KeepsActivations::kSome; }

 protected:
  std::optional<std::string> why_not_matrix(const Prospect::Matrix& matrix) const override {
    const std::string remedy = "; expected \"compressed-tensors\" or \"sterna\"";
    const quant::Encoded& e = *matrix.scheme;
    if (e.zeros.defined() || e.bits != 2 || e.code_min != -1)
      return "this layout has the codes -1, 0 and 1 alone" + remedy;
    if (e.scales.numel() != 1 && !e.scales.eq(e.scales.flatten()[0]).all().item<bool>())
      return "this layout has one scale for a matrix (group = -1), the recipe has more" + remedy;
    if (matrix.n % kRowsOfByte != 0)
      return "expected a multiple of 4 outputs, found " + std::to_string(matrix.n) + remedy;
    if (matrix.bias)
      return "readers of this layout multiply its bias with the scale as well" + remedy;
    return std::nullopt;
  }

  std::optional<std::string> why_not_model(const PackedModules& model) const override {
    if (any_ || model.packed.empty())
      return std::nullopt;
    if (model.activations != model::int8_token_recipe())
      return "[act]: readers of this layout round what packed layers read to int8, one scale for "
             "each token; expected input = { name = \"per_token\", bits = 8 } and nothing else, or "
             "export.format.activations = \"int8\", which computes with other activations than "
             "training did";
    if (!model.plain_in_blocks.empty())
      return "[act]: readers of this layout round the inputs of packed layers alone, and '" +
             model.plain_in_blocks.front() +
             "' is in full precision; expected export.format.activations = \"int8\", or "
             "\"sterna\"";
    return std::nullopt;
  }

  void pack(const std::string& module,
            const IntegerCodes& codes,
            WeightFiles& files) const override {
    const int64_t rows = codes.codes.size(0) / kRowsOfByte;
    const at::Tensor pairs = codes.codes.add(1).to(at::kByte);
    if (pairs.numel() > 0 && pairs.max().item<int64_t>() > 2)
      throw recipes::UserError("tensor '" + module +
                               ".weight': holds codes beside -1, 0 and 1; expected "
                               "\"compressed-tensors\" or \"sterna\"");
    at::Tensor packed = at::zeros({rows, pairs.size(1)}, at::kByte);
    for (int64_t i = 0; i < kRowsOfByte; ++i)
      packed.bitwise_or_(pairs.narrow(0, i * rows, rows).mul(1 << (2 * i)));
    files.add(module + ".weight", packed);
    files.add(module + ".weight_scale", codes.scales.flatten().narrow(0, 0, 1).contiguous());
  }

  json settings(const PackedModules& model) const override {
    std::vector<std::string> plain = model.plain;
    if (!plain.empty() && std::find(plain.begin(), plain.end(), "lm_head") == plain.end())
      plain.emplace_back("lm_head");  // readers leave it out by themselves where no list is given
    return {{"quant_method", "bitnet"},
            {"linear_class", "autobitlinear"},
            {"quantization_mode", "offline"},
            {"modules_to_not_convert", plain.empty() ? json(nullptr) : json(plain)},
            {"use_rms_norm", false},
            {"rms_norm_eps", 1e-6}};
  }

 private:
  bool any_;
};

}  // namespace

void add_hf_bitnet(recipes::Registry<Format>& registry) {
  registry.add<HfBitnet>("hf-bitnet", "ternary weights with int8 inputs as transformers' BitNet");
}

}  // namespace sterna::exporter
