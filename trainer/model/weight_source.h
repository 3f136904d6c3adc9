#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "trainer/model/load.h"

namespace sterna::model {

/// Tensors of a checkpoint under their Hugging Face names ("model.layers.0..."), whatever the file
/// calls them, read one at a time.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// Every tensor that belongs to the model.
  virtual std::vector<std::string> names() const = 0;
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;

  /// fp32; may be asked for once only.
  virtual Tensor take(const std::string& name) = 0;

  /// For error messages.
  virtual std::filesystem::path path() const = 0;
};

/// Safetensors, single or sharded, with or without the prefix "model.".
std::unique_ptr<WeightSource> open_hf_weights(const std::filesystem::path& folder);

/// GGUF names mapped back, rows of Q and K put back into the half-split order.
std::unique_ptr<WeightSource> open_gguf_weights(const std::filesystem::path& file,
                                                const DecoderConfig& config);

std::unique_ptr<WeightSource> hold_weights(Weights weights, const std::filesystem::path& path);

}  // namespace sterna::model
