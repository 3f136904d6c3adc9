#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kvcache/cache.h"
#include "trainer/io/gguf.h"

namespace sterna::model {

enum class NormKind {
  kRms,    ///< x / rms(x) * weight
  kLayer,  ///< (x - mean) / deviation * weight + bias
};

enum class Activation {
  kSilu,
  kRelu,
  kGelu,      ///< with erf
  kGeluTanh,  ///< its approximation, "gelu_new"
};

/// All that one decoder differs from another in: a family is a description, not a copy of the code.
/// What its files call the parts says names.h.
struct DecoderConfig {
  std::string family;  ///< "llama", "mistral", "qwen2", "qwen3", "opt", "gpt2"
  int64_t vocab = 0;
  int64_t width = 0;
  int64_t word_width = 0;  ///< of embedding and head; 0: as `width`, else projections lie between
  int64_t inner = 0;       ///< feed-forward width
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;

  NormKind norm = NormKind::kRms;
  double norm_eps = 1e-6;
  bool norm_first = true;   ///< before attention and feed-forward part; else behind each sum
  bool final_norm = true;   ///< one more before the head
  bool head_norms = false;  ///< queries and keys of each head, before RoPE

  Activation activation = Activation::kSilu;
  bool gated = true;  ///< down(activation(gate) * up), else down(activation(up))
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool tied = false;  ///< the head reads the embedding matrix

  bool learned_positions = false;  ///< a table is added to the embedding, nothing is rotated
  int64_t position_offset = 0;     ///< row of the table that position 0 takes
  kvcache::RopeConfig rope;
  std::vector<int64_t> windows;  ///< of sliding attention by layer, 0: none; empty: none anywhere

  std::optional<int64_t> bos;
  std::vector<int64_t> eos;

  int64_t embedding_width() const { return word_width == 0 ? width : word_width; }
  bool projects_words() const { return embedding_width() != width; }

  /// Parameters, the tied head counted once.
  int64_t parameters() const;
  /// Multiply-adds per token of one forward pass through the matrices, the head included.
  int64_t multiplies_per_token() const;
};

/// Reads config.json (transformers 4 and 5 spellings) with generation_config.json where present.
/// @throws recipes::UserError  naming file and key
DecoderConfig read_hf_config(const std::filesystem::path& folder);

/// Reads the metadata of a GGUF file of architecture llama, qwen2, qwen3 or gpt2; biases and a head
/// of its own are known by their tensors. @throws recipes::UserError  naming file and key
DecoderConfig read_gguf_config(const io::Gguf& file);

}  // namespace sterna::model
