#pragma once

#include "tests/support/tiny_model.h"
#include "trainer/model/decoder.h"
#include "trainer/model/names.h"

namespace sterna::tests {

/// Decoder families besides llama, and what differs within one.
inline std::vector<std::string> tiny_family_names() {
  return {"mistral", "qwen2", "qwen3", "opt", "opt_behind", "gpt2"};
}

inline nlohmann::json tiny_family_config(const std::string& name) {
  const std::string family = name.substr(0, name.find('_'));
  nlohmann::json config = {
      {"model_type", family}, {"vocab_size", 257}, {"bos_token_id", 256}, {"eos_token_id", 256}};
  if (family == "gpt2") {
    config.update({{"n_embd", 32}, {"n_layer", 2}, {"n_head", 4}, {"n_positions", 256}});
    config["architectures"] = {"GPT2LMHeadModel"};
    return config;
  }
  config.update({{"hidden_size", 32},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"max_position_embeddings", 256}});
  if (family == "opt") {
    config.update({{"ffn_dim", 64},
                   {"word_embed_proj_dim", name == "opt" ? 32 : 64},
                   {"do_layer_norm_before", name == "opt"},
                   {"activation_function", "relu"},
                   {"pad_token_id", 1},
                   {"dropout", 0.0}});
    config["architectures"] = {"OPTForCausalLM"};
    return config;
  }
  config.update({{"intermediate_size", 64},
                 {"num_key_value_heads", 2},
                 {"head_dim", 8},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", family == "qwen2"}});
  if (family == "mistral")
    config["sliding_window"] = 7;
  if (family == "qwen3")
    config.update({{"use_sliding_window", true}, {"sliding_window", 5}, {"max_window_layers", 1}});
  config["architectures"] = {family == "mistral" ? "MistralForCausalLM"
                             : family == "qwen2" ? "Qwen2ForCausalLM"
                                                 : "Qwen3ForCausalLM"};
  return config;
}

/// Writes a tiny model of that family with a byte tokenizer, from a seed.
inline void write_tiny_family(const std::filesystem::path& folder, const std::string& name) {
  std::filesystem::create_directories(folder);
  write_text_file(folder / "config.json", tiny_family_config(name).dump(1));
  write_byte_tokenizer(folder);
  const model::DecoderConfig config = model::read_hf_config(folder);
  model::Decoder shapes(config, at::kFloat);
  TinyNormal normal(7);
  std::vector<at::Tensor> values;
  std::vector<io::TensorToWrite> tensors;
  for (const model::Parameter& p : shapes.parameters()) {
    std::vector<int64_t> shape = p.shape;
    if (model::stored_transposed(config.family, p.name))
      std::swap(shape[0], shape[1]);
    at::Tensor& v = values.emplace_back(at::empty(shape));
    const bool norm = shape.size() == 1 && p.name.ends_with(".weight");
    auto* x = v.mutable_data_ptr<float>();
    for (int64_t i = 0; i < v.numel(); ++i) {
      const float z = normal.next();
      x[i] = norm ? 1.0f + 0.1f * z : 0.05f * (z + 0.3f * z * z * z);
    }
    tensors.push_back({p.name,
                       io::Dtype::kF32,
                       shape,
                       {reinterpret_cast<const std::byte*>(x), static_cast<size_t>(v.nbytes())}});
  }
  io::write_safetensors(folder / "model.safetensors", std::move(tensors));
}

}  // namespace sterna::tests
