#pragma once

#include <string>

#include <ATen/ATen.h>

#include "trainer/model/config.h"

namespace sterna::model {

/// What GGUF files call the tensors of one decoder, and which way round they hold their rows.
///
/// Architecture llama stores the rows of Q and K for rotating neighbours: row a d + 2p + s there is
/// row a d + s d/2 + p here (head a, pair p, half s), for weights and biases. The others do not.
class GgufNames {
 public:
  explicit GgufNames(const DecoderConfig& config);

  /// "llama", "qwen2", "qwen3" or "gpt2"; empty where llama.cpp knows no such family.
  const std::string& architecture() const { return architecture_; }

  /// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; unknown names stay, so that
  /// they are reported as they are in the file.
  std::string to_hf(const std::string& name) const;
  /// The way back; empty where GGUF has no such tensor.
  std::string to_gguf(const std::string& name) const;

  /// Rows of the tensor of that Hugging Face name in the other order, where the two differ.
  at::Tensor rows_to_hf(const std::string& name, const at::Tensor& rows) const;
  at::Tensor rows_to_gguf(const std::string& name, const at::Tensor& rows) const;

 private:
  bool permuted(const std::string& name, const at::Tensor& rows) const;

  std::string architecture_;
  std::string family_;
  int64_t head_dim_;
};

}  // namespace sterna::model
