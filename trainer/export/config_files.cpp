#include <charconv>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/export/side_files.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// GGUF keeps 1e-5 as a float; its shortest text is what people write.
double shortest(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value)
    return value;
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), narrow).ptr;
  double result = value;
  std::from_chars(text, end, result);
  return result;
}

json rope_scaling(const kvcache::RopeConfig& rope) {
  if (!rope.divisors.empty())
    throw recipes::UserError(
        "the checkpoint's RoPE has a divisor for each frequency (rope_freqs.weight), which "
        "config.json cannot say; export from the Hugging Face folder it was made of");
  if (rope.type == "default")
    return nullptr;
  TORCH_CHECK(rope.type == "linear" || rope.type == "llama3", "no GGUF gives RoPE ", rope.type);
  json scaling = {{"rope_type", rope.type}, {"factor", shortest(rope.factor)}};
  if (rope.type == "llama3") {
    scaling["low_freq_factor"] = shortest(rope.low_freq_factor);
    scaling["high_freq_factor"] = shortest(rope.high_freq_factor);
    scaling["original_max_position_embeddings"] = rope.original_max_positions;
  }
  return scaling;
}

json eos_of(const model::DecoderConfig& config) {
  if (config.eos.empty())
    return nullptr;
  return config.eos.size() == 1 ? json(config.eos.front()) : json(config.eos);
}

json bos_of(const model::DecoderConfig& config) {
  return config.bos ? json(*config.bos) : json(nullptr);
}

json gpt2_config(const model::DecoderConfig& c) {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"vocab_size", c.vocab},
          {"n_embd", c.width},
          {"n_inner", c.inner},
          {"n_layer", c.layers},
          {"n_head", c.heads},
          {"n_positions", c.max_positions},
          {"layer_norm_epsilon", shortest(c.norm_eps)},
          {"activation_function", "gelu_new"},
          {"bos_token_id", bos_of(c)},
          {"eos_token_id", eos_of(c)},
          {"use_cache", true}};
}

std::string architecture_of(const std::string& family) {
  if (family == "mistral")
    return "MistralForCausalLM";
  if (family == "qwen2")
    return "Qwen2ForCausalLM";
  return family == "qwen3" ? "Qwen3ForCausalLM" : "LlamaForCausalLM";
}

json rotated_config(const model::DecoderConfig& c) {
  const json scaling = rope_scaling(c.rope);
  json parameters = scaling.is_null() ? json{{"rope_type", "default"}} : scaling;
  parameters["rope_theta"] = shortest(c.rope.theta);
  json config = {{"architectures", {architecture_of(c.family)}},
                 {"model_type", c.family},
                 {"vocab_size", c.vocab},
                 {"hidden_size", c.width},
                 {"intermediate_size", c.inner},
                 {"num_hidden_layers", c.layers},
                 {"num_attention_heads", c.heads},
                 {"num_key_value_heads", c.kv_heads},
                 {"head_dim", c.head_dim},
                 {"max_position_embeddings", c.max_positions},
                 {"rms_norm_eps", shortest(c.norm_eps)},
                 {"hidden_act", "silu"},
                 {"rope_theta", shortest(c.rope.theta)},
                 {"rope_scaling", scaling},
                 {"rope_parameters", parameters},
                 {"bos_token_id", bos_of(c)},
                 {"eos_token_id", eos_of(c)},
                 {"use_cache", true}};
  if (c.family == "llama" || c.family == "qwen3")
    config["attention_bias"] = c.qkv_bias;
  if (c.family == "llama")
    config["mlp_bias"] = c.mlp_bias;
  if (c.family == "mistral")
    config["sliding_window"] = c.windows.empty() ? json(nullptr) : json(c.windows.front());
  return config;
}

/// Of a checkpoint without a config.json: a GGUF file.
json make_config(const model::DecoderConfig& c) {
  if (c.family == "opt")
    throw recipes::UserError("a config.json for the family '" + c.family +
                             "' can only be copied, and the source has none");
  return c.family == "gpt2" ? gpt2_config(c) : rotated_config(c);
}

fs::path folder_of_source(const ExportSource& source) {
  return fs::is_directory(source.tokenizer_path) ? source.tokenizer_path
                                                 : source.tokenizer_path.parent_path();
}

}  // namespace

void write_config(const ExportSource& source, const std::string& dtype, const fs::path& folder) {
  const fs::path from = folder_of_source(source);
  const bool copy = fs::is_directory(source.tokenizer_path) && fs::exists(from / "config.json");
  json config = copy ? io::read_json(from / "config.json") : make_config(source.config);
  config.erase("quantization_config");
  config.erase("_name_or_path");  // an export should not tell where its maker keeps files
  // Readers before transformers 5 look for torch_dtype, later ones for dtype.
  config["torch_dtype"] = dtype;
  config["dtype"] = dtype;
  config["tie_word_embeddings"] = source.config.tied;
  if (fs::exists(folder / "config.json"))  // what the layout has to say there
    config.update(io::read_json(folder / "config.json"));
  io::write_atomically(folder / "config.json", config.dump(2) + "\n");

  json generation = {{"bos_token_id", bos_of(source.config)},
                     {"eos_token_id", eos_of(source.config)}};
  if (copy && fs::exists(from / "generation_config.json"))
    generation = io::read_json(from / "generation_config.json");
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    if (generation.contains(key) && generation[key].is_null())
      generation.erase(key);
  }
  io::write_atomically(folder / "generation_config.json", generation.dump(2) + "\n");
}

}  // namespace sterna::exporter
