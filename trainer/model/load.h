#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "quant/encoded.h"
#include "trainer/model/activations.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// What kind of thing a path is.
enum class CheckpointKind {
  kHuggingFace,    ///< folder with config.json and safetensors
  kGguf,           ///< one GGUF file
  kSternaExport,   ///< folder with sterna.json: packed codes, scales and scheme
  kRunCheckpoint,  ///< checkpoints/step-N of a run folder; of the folder itself, the newest whole
};

/// A checkpoint opened but not yet read.
struct CheckpointInfo {
  CheckpointKind kind;
  std::filesystem::path path;            ///< the file or folder that holds the weights
  std::filesystem::path tokenizer_path;  ///< what text::open_tokenizer takes
  DecoderConfig config;
  std::vector<std::string> remarks;  ///< newer checkpoints that were damaged; to be printed
};

/// Says what a path is. A run's checkpoint is compared with its manifest's hashes; of a run folder
/// the newest one that holds is taken, with a remark for each that did not.
/// @throws recipes::UserError  saying what was looked for, what is there and what to do
CheckpointInfo inspect(const std::filesystem::path& path);

/// Weights by Hugging Face name, fp32, in memory. Quantized ones come de-quantised, with their
/// codes beside them where the file holds codes of ours.
struct Weights {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, quant::Encoded> encoded;  ///< by weight name
  std::vector<std::string> merged;  ///< weights with a run's adapters merged into them
  Activations activations;          ///< how the model that computes with them rounds what it reads
};
Weights read_weights(const CheckpointInfo& info);

/// Opens, reads and builds in one call, activation quantizers included, tensor by tensor: beside
/// the model never more is in memory than one shard's mapping (tests/model/load_memory_test.cpp).
/// Every expected tensor must be there with its shape; a missing, misshapen or unexpected one is
/// named with the file.
Decoder load_decoder(const CheckpointInfo& info, at::ScalarType compute_dtype);

}  // namespace sterna::model
