#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "trainer/io/safetensors.h"

namespace sterna::tests {

/// A llama checkpoint in Hugging Face layout made from a seed, small enough to train in a test: 256
/// byte tokens and an end token.
struct TinyModel {
  int64_t vocab = 257;
  int64_t width = 32;
  int64_t inner = 64;
  int64_t layers = 2;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  bool tied = false;
  uint32_t seed = 7;
  int64_t positions = 256;
};

/// Large enough that a matrix of it shows in a process's memory: blocks of 3.4 million weights.
inline TinyModel wide_model(int64_t layers) {
  TinyModel shape;
  shape.vocab = 4096;
  shape.width = 512;
  shape.inner = 1536;
  shape.layers = layers;
  shape.heads = shape.kv_heads = 8;
  shape.tied = true;
  return shape;
}

/// Standard normal numbers that are the same with every standard library.
class TinyNormal {
 public:
  explicit TinyNormal(uint32_t seed) : engine_(seed) {}
  float next() {
    constexpr double kTwoPi = 6.283185307179586;
    const double u = (static_cast<double>(engine_()) + 1.0) / 4294967297.0;
    const double v = static_cast<double>(engine_()) / 4294967296.0;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(kTwoPi * v));
  }

 private:
  std::mt19937 engine_;
};

inline void write_text_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// UTF-8 of the character that stands for a byte in byte-level vocabularies.
inline std::string byte_character(int byte) {
  const auto shown = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  int code = byte;
  if (!shown(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b)
      code += shown(b) ? 0 : 1;
  }
  if (code < 128)
    return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

inline void write_byte_tokenizer(const std::filesystem::path& folder) {
  using nlohmann::json;
  json vocab;
  for (int b = 0; b < 256; ++b)
    vocab[byte_character(b)] = b;
  const json end = {{"id", 256},
                    {"content", "<|end|>"},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}};
  const json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", {end}},
                          {"normalizer", nullptr},
                          {"pre_tokenizer",
                           {{"type", "ByteLevel"},
                            {"add_prefix_space", false},
                            {"trim_offsets", true},
                            {"use_regex", true}}},
                          {"post_processor", nullptr},
                          {"decoder",
                           {{"type", "ByteLevel"},
                            {"add_prefix_space", false},
                            {"trim_offsets", true},
                            {"use_regex", true}}},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"vocab", vocab},
                            {"merges", json::array()}}}};
  write_text_file(folder / "tokenizer.json", tokenizer.dump());
  write_text_file(
      folder / "tokenizer_config.json",
      json{{"eos_token", "<|end|>"}, {"tokenizer_class", "PreTrainedTokenizerFast"}}.dump());
}

/// Its config.json.
inline nlohmann::json llama_config(const TinyModel& m) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"vocab_size", m.vocab},
          {"hidden_size", m.width},
          {"intermediate_size", m.inner},
          {"num_hidden_layers", m.layers},
          {"num_attention_heads", m.heads},
          {"num_key_value_heads", m.kv_heads},
          {"max_position_embeddings", m.positions},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"tie_word_embeddings", m.tied},
          {"bos_token_id", 256},
          {"eos_token_id", 256}};
}

/// Writes config.json, model.safetensors and a tokenizer into `folder`.
inline void write_tiny_model(const std::filesystem::path& folder, const TinyModel& m = {}) {
  std::filesystem::create_directories(folder);
  write_text_file(folder / "config.json", llama_config(m).dump(1));
  write_byte_tokenizer(folder);

  TinyNormal normal(m.seed);
  std::vector<std::vector<float>> values;
  std::vector<io::TensorToWrite> tensors;
  values.reserve(static_cast<size_t>(16 + 9 * m.layers));
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    int64_t size = 1;
    for (const int64_t n : shape)
      size *= n;
    std::vector<float>& v = values.emplace_back(static_cast<size_t>(size));
    const bool norm = shape.size() == 1;
    // Cubed: the heavy tails that trained weights have.
    for (float& x : v) {
      const float z = normal.next();
      x = norm ? 1.0f + 0.1f * z : 0.05f * (z + 0.3f * z * z * z);
    }
    tensors.push_back({name, io::Dtype::kF32, std::move(shape), std::as_bytes(std::span(v))});
  };
  const int64_t kv = m.width / m.heads * m.kv_heads;
  add("model.embed_tokens.weight", {m.vocab, m.width});
  for (int64_t i = 0; i < m.layers; ++i) {
    const std::string path = "model.layers." + std::to_string(i) + ".";
    add(path + "input_layernorm.weight", {m.width});
    add(path + "self_attn.q_proj.weight", {m.width, m.width});
    add(path + "self_attn.k_proj.weight", {kv, m.width});
    add(path + "self_attn.v_proj.weight", {kv, m.width});
    add(path + "self_attn.o_proj.weight", {m.width, m.width});
    add(path + "post_attention_layernorm.weight", {m.width});
    add(path + "mlp.gate_proj.weight", {m.inner, m.width});
    add(path + "mlp.up_proj.weight", {m.inner, m.width});
    add(path + "mlp.down_proj.weight", {m.width, m.inner});
  }
  add("model.norm.weight", {m.width});
  if (!m.tied)
    add("lm_head.weight", {m.vocab, m.width});
  io::write_safetensors(folder / "model.safetensors", std::move(tensors));
}

/// Sentences of few words, so that a tiny model has something to learn.
inline std::string tiny_text(int64_t sentences, uint32_t seed = 3) {
  const std::vector<std::string> who{"the cat", "a bird", "the tern", "a child", "the old man"};
  const std::vector<std::string> what{"sees", "likes", "follows", "sings to", "forgets"};
  std::mt19937 engine(seed);
  const auto pick = [&](const std::vector<std::string>& of) { return of[engine() % of.size()]; };
  std::string text;
  for (int64_t i = 0; i < sentences; ++i)
    text += pick(who) + " " + pick(what) + " " + pick(who) + ".\n";
  return text;
}

}  // namespace sterna::tests
