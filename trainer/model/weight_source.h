#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "trainer/model/load.h"

namespace sterna::model {

/// Tensors of a checkpoint under their Hugging Face names ("model.layers.0..."), whatever the file
/// calls them, and matrices as [out, in], whatever way it holds them; read one at a time.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// Every tensor that belongs to the model.
  virtual std::vector<std::string> names() const = 0;
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;

  /// In `dtype`, rounded once; may be asked for once only. Of a file's mapping nothing is held in
  /// memory afterwards, and beside the result never more than a piece of it.
  /// @throws io::FileError  for values that are not finite
  virtual Tensor take(const std::string& name, at::ScalarType dtype) = 0;

  /// For error messages.
  virtual std::filesystem::path path() const = 0;
};

/// Safetensors, single or sharded, with or without the family's prefix ("model.").
std::unique_ptr<WeightSource> open_hf_weights(const std::filesystem::path& folder,
                                              const DecoderConfig& config);

/// GGUF names mapped back, rows of Q and K put back into the half-split order where architecture
/// llama has them otherwise.
std::unique_ptr<WeightSource> open_gguf_weights(const std::filesystem::path& file,
                                                const DecoderConfig& config);

std::unique_ptr<WeightSource> hold_weights(Weights weights, const std::filesystem::path& path);

}  // namespace sterna::model
