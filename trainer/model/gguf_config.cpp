#include <algorithm>
#include <vector>

#include "trainer/model/check_config.h"
#include "trainer/model/config.h"

namespace sterna::model {
namespace {

using recipes::UserError;

/// Keys of one file, "llama.block_count", by what stands behind the architecture.
class ArchitectureKeys {
 public:
  explicit ArchitectureKeys(const io::Gguf& file)
      : file_(file), prefix_(file.text("general.architecture") + ".") {}

  std::string key(const std::string& name) const { return prefix_ + name; }
  bool has(const std::string& name) const { return file_.has(key(name)); }
  int64_t integer(const std::string& name) const { return file_.integer(key(name)); }
  double number(const std::string& name) const { return file_.number(key(name)); }
  std::string text(const std::string& name) const { return file_.text(key(name)); }
  int64_t integer_or(const std::string& name, int64_t fallback) const {
    return has(name) ? integer(name) : fallback;
  }
  double number_or(const std::string& name, double fallback) const {
    return has(name) ? number(name) : fallback;
  }
  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    throw UserError(file_.path().string() + ": '" + key(name) + "': " + why);
  }

 private:
  const io::Gguf& file_;
  std::string prefix_;
};

kvcache::RopeConfig read_rope(const io::Gguf& file,
                              const ArchitectureKeys& keys,
                              const DecoderConfig& config) {
  kvcache::RopeConfig rope;
  rope.head_dim = config.head_dim;
  rope.theta = keys.number_or("rope.freq_base", 10000.0);
  if (keys.integer_or("rope.dimension_count", config.head_dim) != config.head_dim)
    keys.refuse("rope.dimension_count", "rotating a part of the head is not supported");
  const std::string name = "rope.scaling.type";
  const std::string type = keys.has(name) ? keys.text(name) : "linear";  // as llama.cpp
  if (type != "none" && type != "linear")
    keys.refuse(name, "'" + type + "' is not supported; none and linear are");
  if (type == "linear")
    rope.factor = keys.number_or("rope.scaling.factor",
                                 keys.number_or("rope.scale_linear", 1.0));  // older spelling
  if (rope.factor == 0.0)
    rope.factor = 1.0;  // as llama.cpp: 0 says that nothing is scaled
  rope.type = rope.factor == 1.0 ? "default" : "linear";
  if (const io::TensorView* divisors = file.find("rope_freqs.weight")) {
    std::vector<float> values(divisors->elements());
    io::to_float(*divisors, values);
    rope.divisors.assign(values.begin(), values.end());
    if (static_cast<int64_t>(values.size()) != config.head_dim / 2)
      throw UserError(file.path().string() +
                      ": 'rope_freqs.weight': expected half the head width, found " +
                      std::to_string(values.size()) + " values");
  }
  return rope;
}

std::string family_of(const io::Gguf& file, const ArchitectureKeys& keys) {
  const std::string& architecture = file.text("general.architecture");
  if (architecture == "llama")
    return keys.integer_or("attention.sliding_window", 0) > 0 ? "mistral" : "llama";
  if (architecture == "qwen2" || architecture == "qwen3" || architecture == "gpt2")
    return architecture;
  throw UserError(file.path().string() + ": 'general.architecture': '" + architecture +
                  "' is not supported; llama, qwen2, qwen3 and gpt2 are");
}

void check_supported(const io::Gguf& file, const ArchitectureKeys& keys) {
  if (keys.integer_or("expert_count", 0) > 0)
    keys.refuse("expert_count", "mixtures of experts are not supported");
  if (file.has("split.count") && file.integer("split.count") > 1)
    throw UserError(file.path().string() +
                    ": 'split.count': split files are not supported; merge them first");
}

int64_t rows_of(const io::Gguf& file, const char* matrix) {
  const std::vector<int64_t>& shape = file.at(matrix).shape;
  if (shape.size() != 2)
    throw UserError(file.path().string() + ": tensor '" + matrix + "' has " +
                    std::to_string(shape.size()) + " dimensions where 2 are expected");
  return shape[0];
}

void read_gpt2(const ArchitectureKeys& keys, DecoderConfig& c) {
  c.norm = NormKind::kLayer;
  c.norm_eps = keys.number("attention.layer_norm_epsilon");
  c.activation = Activation::kGeluTanh;
  c.gated = false;
  c.learned_positions = true;
  c.qkv_bias = c.o_bias = c.mlp_bias = true;
}

void read_rotated(const io::Gguf& file, const ArchitectureKeys& keys, DecoderConfig& c) {
  c.norm_eps = keys.number("attention.layer_norm_rms_epsilon");
  c.qkv_bias = file.find("blk.0.attn_q.bias") != nullptr;
  c.o_bias = file.find("blk.0.attn_output.bias") != nullptr;
  c.mlp_bias = file.find("blk.0.ffn_up.bias") != nullptr;
  c.head_norms = file.find("blk.0.attn_q_norm.weight") != nullptr;
  c.head_dim = keys.integer_or("attention.key_length", c.head_dim);
  const int64_t window = keys.integer_or("attention.sliding_window", 0);
  if (window > 0)
    c.windows.assign(std::clamp<int64_t>(c.layers, 0, kMostLayers), window);
  c.rope = read_rope(file, keys, c);
}

}  // namespace

DecoderConfig read_gguf_config(const io::Gguf& file) {
  const ArchitectureKeys keys(file);
  DecoderConfig config;
  config.family = family_of(file, keys);
  check_supported(file, keys);
  config.vocab = rows_of(file, "token_embd.weight");
  config.width = keys.integer("embedding_length");
  config.inner = keys.integer("feed_forward_length");
  config.layers = keys.integer("block_count");
  config.heads = keys.integer("attention.head_count");
  config.kv_heads = keys.integer_or("attention.head_count_kv", config.heads);
  config.max_positions = keys.integer("context_length");
  config.tied = file.find("output.weight") == nullptr;
  config.head_dim = config.heads > 0 ? config.width / config.heads : 0;
  if (config.family == "gpt2")
    read_gpt2(keys, config);
  else
    read_rotated(file, keys, config);
  if (file.has("tokenizer.ggml.bos_token_id"))
    config.bos = file.integer("tokenizer.ggml.bos_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (file.has(key) &&
        std::find(config.eos.begin(), config.eos.end(), file.integer(key)) == config.eos.end())
      config.eos.push_back(file.integer(key));
  }
  check_config(config, file.path());
  return config;
}

}  // namespace sterna::model
