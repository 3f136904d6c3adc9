// config.json of each family that transformers writes, as a DecoderConfig.
#include <algorithm>

#include "trainer/io/json.h"
#include "trainer/model/check_config.h"
#include "trainer/model/hf_quantization.h"
#include "trainer/model/hf_rope.h"
#include "trainer/model/json_keys.h"
#include "trainer/model/names.h"

namespace sterna::model {
namespace {

using recipes::UserError;

Activation read_activation(const Keys& keys, const std::string& key, const std::string& fallback) {
  const std::string name = keys.text_or(key, fallback);
  if (name == "silu" || name == "swish")
    return Activation::kSilu;
  if (name == "relu")
    return Activation::kRelu;
  if (name == "gelu")
    return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh")
    return Activation::kGeluTanh;
  keys.refuse(key, "'" + name + "' is not supported; silu, relu, gelu and gelu_new are");
}

// What changes the computation and is not built, where it is asked for.
void require_flag(const Keys& keys, const std::string& key, bool supported) {
  if (keys.boolean_or(key, supported) != supported)
    keys.refuse(key, std::string("only ") + (supported ? "true" : "false") + " is supported");
}

// Sizes, norms and RoPE that Llama, Mistral and Qwen have in common.
void read_rotated(const Keys& keys, DecoderConfig& c) {
  c.vocab = keys.integer("vocab_size");
  c.width = keys.integer("hidden_size");
  c.inner = keys.integer("intermediate_size");
  c.layers = keys.integer("num_hidden_layers");
  c.heads = keys.integer("num_attention_heads");
  c.kv_heads = keys.integer_or("num_key_value_heads", c.heads);
  if (!keys.has("head_dim") && (c.heads <= 0 || c.width % c.heads != 0))
    keys.refuse("num_attention_heads", "does not divide hidden_size, and there is no head_dim");
  c.head_dim = keys.has("head_dim") ? keys.integer("head_dim") : c.width / c.heads;
  c.max_positions = keys.integer_or("max_position_embeddings", 2048);
  c.norm_eps = keys.number_or("rms_norm_eps", 1e-6);
  c.tied = keys.boolean_or("tie_word_embeddings", false);
  c.activation = read_activation(keys, "hidden_act", "silu");
  if (c.activation != Activation::kSilu)
    keys.refuse("hidden_act", "'" + keys.text_or("hidden_act", "") + "' is not supported; silu is");
  c.rope = read_hf_rope(keys, c);
  // Some configurations say only how long the texts were before RoPE was stretched.
  const bool stretched =
      c.rope.type == "dynamic" || c.rope.type == "yarn" || c.rope.type == "longrope";
  if (stretched && c.rope.original_max_positions == c.max_positions) {
    const double longer = static_cast<double>(c.max_positions) * c.rope.factor;
    if (!(longer >= 1 && longer < 1e9))
      keys.refuse("max_position_embeddings", "times the factor of RoPE is no sensible length");
    c.max_positions = static_cast<int64_t>(longer);
  }
}

void read_llama(const Keys& keys, DecoderConfig& c) {
  read_rotated(keys, c);
  c.qkv_bias = c.o_bias = keys.boolean_or("attention_bias", false);
  c.mlp_bias = keys.boolean_or("mlp_bias", false);
}

/// @param slides  whether that layer would have the window, were there no list of layers
template <class Slides>
void read_windows(const Keys& keys, DecoderConfig& c, const Slides& slides) {
  if (!keys.has("sliding_window"))
    return;
  const int64_t window = keys.integer("sliding_window");
  if (window <= 0)
    keys.refuse("sliding_window", "expected a positive number of tokens or null");
  for (int64_t i = 0; i < std::min(c.layers, kMostLayers); ++i)
    c.windows.push_back(slides(i) ? window : 0);
}

void read_mistral(const Keys& keys, DecoderConfig& c) {
  read_rotated(keys, c);
  read_windows(keys, c, [](int64_t) { return true; });
  if (!keys.has("layer_types"))
    return;
  for (const std::string& type : keys.texts("layer_types")) {
    if (type != (c.windows.empty() ? "full_attention" : "sliding_attention"))
      keys.refuse("layer_types", "'" + type + "' in some layers is not supported for mistral");
  }
}

void read_qwen(const Keys& keys, DecoderConfig& c) {
  read_rotated(keys, c);
  if (!keys.boolean_or("use_sliding_window", false)) {
    if (keys.has("layer_types"))
      for (const std::string& type : keys.texts("layer_types"))
        if (type != "full_attention")
          keys.refuse("layer_types", "'" + type + "' needs use_sliding_window");
    return;
  }
  if (!keys.has("layer_types")) {
    const int64_t first = keys.integer_or("max_window_layers", 28);
    return read_windows(keys, c, [&](int64_t layer) { return layer >= first; });
  }
  const std::vector<std::string> types = keys.texts("layer_types");
  if (static_cast<int64_t>(types.size()) != c.layers)
    keys.refuse("layer_types",
                "expected one for each of " + std::to_string(c.layers) + " layers, found " +
                    std::to_string(types.size()));
  for (const std::string& type : types) {
    if (type != "full_attention" && type != "sliding_attention")
      keys.refuse("layer_types",
                  "'" + type + "' is not supported; full_attention and sliding_attention are");
  }
  read_windows(keys, c, [&](int64_t layer) { return types[layer] == "sliding_attention"; });
}

void read_qwen2(const Keys& keys, DecoderConfig& c) {
  read_qwen(keys, c);
  c.qkv_bias = true;
}

void read_qwen3(const Keys& keys, DecoderConfig& c) {
  read_qwen(keys, c);
  c.qkv_bias = c.o_bias = keys.boolean_or("attention_bias", false);
  c.head_norms = true;
}

// Learned positions, layer norms with bias, a plain feed-forward part: OPT and GPT-2.
void finish_learned(const Keys& keys, DecoderConfig& c, bool biases) {
  c.kv_heads = c.heads;
  if (c.heads <= 0 || c.width % c.heads != 0)
    keys.refuse(
        keys.has("n_head") ? "n_head" : "num_attention_heads",
        std::to_string(c.heads) + " heads do not divide the width " + std::to_string(c.width));
  c.head_dim = c.width / c.heads;
  c.norm = NormKind::kLayer;
  c.gated = false;
  c.qkv_bias = c.o_bias = c.mlp_bias = biases;
  c.learned_positions = true;
  c.tied = keys.boolean_or("tie_word_embeddings", true);
}

void read_opt(const Keys& keys, DecoderConfig& c) {
  require_flag(keys, "layer_norm_elementwise_affine", true);
  c.vocab = keys.integer("vocab_size");
  c.width = keys.integer("hidden_size");
  c.word_width = keys.integer_or("word_embed_proj_dim", c.width);
  c.inner = keys.integer("ffn_dim");
  c.layers = keys.integer("num_hidden_layers");
  c.heads = keys.integer("num_attention_heads");
  c.max_positions = keys.integer_or("max_position_embeddings", 2048);
  c.position_offset = 2;
  c.norm_eps = 1e-5;
  c.norm_first = keys.boolean_or("do_layer_norm_before", true);
  c.final_norm = c.norm_first && !keys.boolean_or("_remove_final_layer_norm", false);
  c.activation = read_activation(keys, "activation_function", "relu");
  finish_learned(keys, c, keys.boolean_or("enable_bias", true));
}

void read_gpt2(const Keys& keys, DecoderConfig& c) {
  require_flag(keys, "scale_attn_weights", true);
  require_flag(keys, "scale_attn_by_inverse_layer_idx", false);
  require_flag(keys, "add_cross_attention", false);
  c.vocab = keys.integer("vocab_size");
  c.width = keys.integer("n_embd");
  // No width that overflows here is accepted later.
  c.inner = keys.integer_or("n_inner", 4 * std::clamp<int64_t>(c.width, 0, int64_t{1} << 31));
  c.layers = keys.integer("n_layer");
  c.heads = keys.integer("n_head");
  c.max_positions = keys.integer_or("n_positions", 1024);
  c.norm_eps = keys.number_or("layer_norm_epsilon", 1e-5);
  c.activation = read_activation(keys, "activation_function", "gelu_new");
  finish_learned(keys, c, /*biases=*/true);
}

struct Family {
  const char* name;
  void (*read)(const Keys&, DecoderConfig&);
};
constexpr Family kFamilies[] = {{"llama", read_llama},
                                {"mistral", read_mistral},
                                {"qwen2", read_qwen2},
                                {"qwen3", read_qwen3},
                                {"opt", read_opt},
                                {"gpt2", read_gpt2}};

const Family* find_family(const std::string& name) {
  const auto* found = std::find_if(std::begin(kFamilies),
                                   std::end(kFamilies),
                                   [&](const Family& family) { return name == family.name; });
  return found == std::end(kFamilies) ? nullptr : found;
}

void read_family(const Keys& keys, DecoderConfig& config) {
  config.family = keys.text_or("model_type", "");
  if (const Family* family = find_family(config.family))
    return family->read(keys, config);
  std::string known;
  for (const Family& family : kFamilies)
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  keys.refuse("model_type", "'" + config.family + "' is not supported; " + known + " are");
}

void read_end_tokens(const Keys& keys,
                     const std::filesystem::path& generation,
                     DecoderConfig& config) {
  const std::vector<int64_t> bos = keys.ids("bos_token_id");
  if (!bos.empty())
    config.bos = bos.front();
  config.eos = keys.ids("eos_token_id");
  if (!std::filesystem::exists(generation))
    return;
  const nlohmann::json fuller = io::read_json(generation);
  const auto eos = Keys(fuller, generation).ids("eos_token_id");
  if (!eos.empty())
    config.eos = eos;
}

}  // namespace

bool is_family(const std::string& family) {
  return find_family(family) != nullptr;
}

DecoderConfig read_hf_config(const std::filesystem::path& folder) {
  const auto file = folder / "config.json";
  const nlohmann::json json = io::read_json(file);
  const Keys keys(json, file);
  if (keys.has("quantization_config"))
    read_hf_quantization(keys, file);  // refuses a layout that is not read, before anything is
  DecoderConfig config;
  read_family(keys, config);
  read_end_tokens(keys, folder / "generation_config.json", config);
  check_config(config, file);
  return config;
}

}  // namespace sterna::model
