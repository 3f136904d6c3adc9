#include <algorithm>
#include <vector>

#include "trainer/model/check_config.h"
#include "trainer/model/config.h"

namespace sterna::model {
namespace {

using recipes::UserError;

int64_t integer_or(const io::Gguf& file, const std::string& key, int64_t fallback) {
  return file.has(key) ? file.integer(key) : fallback;
}

double number_or(const io::Gguf& file, const std::string& key, double fallback) {
  return file.has(key) ? file.number(key) : fallback;
}

[[noreturn]] void refuse(const io::Gguf& file, const std::string& key, const std::string& why) {
  throw UserError(file.path().string() + ": '" + key + "': " + why);
}

kvcache::RopeConfig read_rope(const io::Gguf& file, const DecoderConfig& config) {
  kvcache::RopeConfig rope;
  rope.head_dim = config.head_dim;
  rope.theta = number_or(file, "llama.rope.freq_base", 10000.0);
  if (integer_or(file, "llama.rope.dimension_count", config.head_dim) != config.head_dim)
    refuse(file, "llama.rope.dimension_count", "rotating a part of the head is not supported");
  const std::string key = "llama.rope.scaling.type";
  const std::string type = file.has(key) ? file.text(key) : "linear";  // as llama.cpp
  if (type != "none" && type != "linear")
    refuse(file, key, "'" + type + "' is not supported; none and linear are");
  if (type == "linear")
    rope.factor = number_or(file,
                            "llama.rope.scaling.factor",
                            number_or(file, "llama.rope.scale_linear", 1.0));  // older spelling
  if (rope.factor == 0.0)
    rope.factor = 1.0;  // as llama.cpp: 0 says that nothing is scaled
  rope.type = rope.factor == 1.0 ? "default" : "linear";
  if (const io::TensorView* divisors = file.find("rope_freqs.weight")) {
    std::vector<float> values(divisors->elements());
    io::to_float(*divisors, values);
    rope.divisors.assign(values.begin(), values.end());
    if (static_cast<int64_t>(values.size()) != config.head_dim / 2)
      refuse(file,
             "rope_freqs.weight",
             "expected half the head width, found " + std::to_string(values.size()) + " values");
  }
  return rope;
}

void check_supported(const io::Gguf& file) {
  const std::string& architecture = file.text("general.architecture");
  if (architecture != "llama")
    refuse(file, "general.architecture", "'" + architecture + "' is not supported yet; llama is");
  if (integer_or(file, "llama.expert_count", 0) > 0)
    refuse(file, "llama.expert_count", "mixtures of experts are not supported");
  if (integer_or(file, "llama.attention.sliding_window", 0) > 0)
    refuse(file, "llama.attention.sliding_window", "sliding windows are not supported yet");
  if (integer_or(file, "split.count", 1) > 1)
    refuse(file, "split.count", "split files are not supported; merge them first");
}

}  // namespace

DecoderConfig read_gguf_config(const io::Gguf& file) {
  check_supported(file);
  DecoderConfig config;
  config.family = "llama";
  config.vocab = file.at("token_embd.weight").shape.at(0);
  config.width = file.integer("llama.embedding_length");
  config.inner = file.integer("llama.feed_forward_length");
  config.layers = file.integer("llama.block_count");
  config.heads = file.integer("llama.attention.head_count");
  config.kv_heads = integer_or(file, "llama.attention.head_count_kv", config.heads);
  config.max_positions = file.integer("llama.context_length");
  config.norm_eps = file.number("llama.attention.layer_norm_rms_epsilon");
  config.tied = file.find("output.weight") == nullptr;
  config.attention_bias = file.find("blk.0.attn_q.bias") != nullptr;
  config.mlp_bias = file.find("blk.0.ffn_up.bias") != nullptr;
  config.head_dim = integer_or(
      file, "llama.attention.key_length", config.heads > 0 ? config.width / config.heads : 0);
  config.rope = read_rope(file, config);
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
