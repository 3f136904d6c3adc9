#pragma once

#include <filesystem>
#include <memory>
#include <optional>
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

  /// In `dtype`, rounded once. Of a file's mapping nothing is held in memory afterwards, and beside
  /// the result never more than a piece of it, or, where a run has to encode its master anew, that
  /// one master in fp32.
  /// @throws io::FileError  for values of other programs' files that are not finite
  virtual Tensor take(const std::string& name, at::ScalarType dtype) = 0;

  /// The codes whose values take() gives; nothing where the matrix has none of ours.
  virtual std::optional<quant::Encoded> codes(const std::string& name) {
    (void)name;
    return std::nullopt;
  }

  /// True where a run's adapter is merged into what take() gives.
  virtual bool merged(const std::string& name) const {
    (void)name;
    return false;
  }

  /// How the model that computes with them rounds what it reads.
  virtual Activations activations() { return {}; }

  /// For error messages.
  virtual std::filesystem::path path() const = 0;

  /// True where integers() gives something.
  virtual bool has_integers(const std::string& name) const {
    (void)name;
    return false;
  }

  /// What take() gives as integers times scales, as the file holds them: codes of ours, or another
  /// format's blocks. For models that multiply with them.
  virtual std::optional<quant::Encoded> integers(const std::string& name) { return codes(name); }
};

/// Safetensors, single or sharded, with or without the family's prefix ("model.").
std::unique_ptr<WeightSource> open_hf_weights(const std::filesystem::path& folder,
                                              const DecoderConfig& config);

/// GGUF names mapped back, rows of Q and K put back into the half-split order where architecture
/// llama has them otherwise.
std::unique_ptr<WeightSource> open_gguf_weights(const std::filesystem::path& file,
                                                const DecoderConfig& config);

/// Layout "sterna" (sterna_export.h).
std::unique_ptr<WeightSource> open_sterna_weights(const std::filesystem::path& folder);

/// The student of a run's checkpoint as it is evaluated and exported: each matrix encoded by the
/// recipe's quantizer with its stored tensors when it is asked for, adapters merged.
std::unique_ptr<WeightSource> open_run_weights(const CheckpointInfo& info);

/// Of a checkpoint of any kind, with every tensor that the model needs, in its shape.
/// @throws io::FileError  naming what is missing, misshapen or unexpected
std::unique_ptr<WeightSource> open_weights(const CheckpointInfo& info);

/// Those that are named, in memory.
Weights read_all(WeightSource& source, const std::vector<std::string>& names);

}  // namespace sterna::model
