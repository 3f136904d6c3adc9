// compressed-tensors' "pack-quantized": weight_packed, weight_scale, weight_zero_point and
// weight_shape beside each other. The layout is described at its reader,
// trainer/model/ct_matrix.cpp.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "trainer/export/packed_model.h"
#include "trainer/model/hf_quantization.h"

namespace sterna::exporter {
namespace {

using nlohmann::json;

class CompressedTensors final : public PackedFormat {
 public:
  struct Config {
    CommonConfig common;
    std::string activations = "refuse";
    template <class Visitor>
    void fields(Visitor& v) {
      common.fields(v);
      v("activations",
        activations,
        "where [act] is not int8 by token of every linear layer, all that this layout can say",
        recipes::OneOf{"refuse", "drop"});
    }
  };
  explicit CompressedTensors(const Config& config)
      : PackedFormat(config.common, "compressed-tensors", {2, 4, 8}),
        drops_(config.activations == "drop") {}

  KeepsActivations activations() const override {
    return drops_ ? KeepsActivations::kDropped : KeepsActivations::kSome;
  }

 protected:
  bool packs_head() const override { return true; }

  std::optional<std::string> why_not_matrix(const Prospect::Matrix&) const override {
    return std::nullopt;
  }

  std::optional<std::string> why_not_model(const PackedModules& model) const override {
    if (drops_ || model.activations.empty())
      return std::nullopt;
    const std::string remedy =
        "; expected input = { name = \"per_token\", bits = 8 } and nothing else, \"sterna\", or "
        "export.format.activations = \"drop\" for the weights alone";
    if (model.activations != model::int8_token_recipe())
      return "[act]: this layout rounds what linear layers read to symmetric int8, one scale for "
             "each token, and nothing else" +
             remedy;
    if (!model.plain_in_blocks.empty())
      return "[act]: this layout rounds the inputs of packed layers alone, and '" +
             model.plain_in_blocks.front() + "' is in full precision" + remedy;
    return std::nullopt;
  }

  void pack(const std::string& module,
            const IntegerCodes& codes,
            WeightFiles& files) const override {
    const int64_t n = codes.codes.size(0);
    files.add(module + ".weight_packed", packed_words(codes.codes, codes.bits, codes.code_min));
    files.add(module + ".weight_scale", codes.scales);
    if (codes.zeros.defined())
      files.add(
          module + ".weight_zero_point",
          packed_words(codes.zeros.t().contiguous(), codes.bits, codes.code_min).t().contiguous());
    files.add(module + ".weight_shape", at::tensor({n, codes.codes.size(1)}, at::kLong));
  }

  json settings(const PackedModules& model) const override {
    std::map<PackedModules::Module, std::vector<std::string>> alike;
    const bool rounds = !drops_ && !model.activations.empty();
    for (auto [module, scheme] : model.packed) {
      scheme.in_block = scheme.in_block && rounds;  // what else the two differ in is nothing
      alike[scheme].push_back(module);
    }
    json groups = json::object();
    for (const auto& [scheme, modules] : alike) {
      json group = {{"format", "pack-quantized"},
                    {"weights", weights_of(scheme)},
                    {"input_activations", scheme.in_block ? int8_tokens() : json(nullptr)},
                    {"output_activations", nullptr}};
      group["targets"] = alike.size() == 1 ? json::array({"Linear"}) : json(modules);
      groups["group_" + std::to_string(groups.size())] = group;
    }
    std::vector<std::string> ignore = model.plain;
    if (!model.packed.contains("lm_head") &&
        std::find(ignore.begin(), ignore.end(), "lm_head") == ignore.end())
      ignore.emplace_back("lm_head");  // a tied one is no tensor of ours, and a layer of theirs
    return {{"quant_method", "compressed-tensors"},
            {"format", "pack-quantized"},
            {"quantization_status", "compressed"},
            {"global_compression_ratio", nullptr},
            {"ignore", ignore},
            {"kv_cache_scheme", nullptr},
            {"config_groups", groups}};
  }

 private:
  static json weights_of(const PackedModules::Module& scheme) {
    return {{"num_bits", scheme.bits},
            {"type", "int"},
            {"symmetric", scheme.symmetric},
            {"strategy", scheme.group == 0 ? "channel" : "group"},
            {"group_size", scheme.group == 0 ? json(nullptr) : json(scheme.group)},
            {"dynamic", false},
            {"actorder", nullptr}};
  }

  static json int8_tokens() {
    return {{"num_bits", 8},
            {"type", "int"},
            {"symmetric", true},
            {"strategy", "token"},
            {"dynamic", true}};
  }

  bool drops_;
};

}  // namespace

void add_compressed_tensors(recipes::Registry<Format>& registry) {
  registry.add<CompressedTensors>("compressed-tensors",
                                  "packed integers as vLLM and transformers load them");
}

}  // namespace sterna::exporter
