#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kvcache/rope.h"
#include "trainer/io/gguf.h"

namespace sterna::model {

/// All that one decoder differs from another in: a family is a description, not a copy of the code.
struct DecoderConfig {
  std::string family;  ///< "llama"; more with the next families
  int64_t vocab = 0;
  int64_t width = 0;
  int64_t inner = 0;  ///< feed-forward width
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;
  double norm_eps = 1e-6;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tied = false;  ///< the head reads the embedding matrix
  kvcache::RopeConfig rope;
  std::optional<int64_t> bos;
  std::vector<int64_t> eos;

  /// Parameters, the tied head counted once.
  int64_t parameters() const;
  /// Multiply-adds per token of one forward pass through the matrices, the head included.
  int64_t multiplies_per_token() const;
};

/// Reads config.json (transformers 4 and 5 spellings) with generation_config.json where present.
/// @throws recipes::UserError  naming file and key
DecoderConfig read_hf_config(const std::filesystem::path& folder);

/// Reads the metadata of a GGUF file of architecture llama; biases and a head of its own are known
/// by their tensors. @throws recipes::UserError  naming file and key
DecoderConfig read_gguf_config(const io::Gguf& file);

}  // namespace sterna::model
