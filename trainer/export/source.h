#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/model/load.h"
#include "trainer/model/weight_source.h"

namespace sterna::exporter {

/// What an export is made from and what a certificate compares it with: the student as it is
/// evaluated, whichever kind of checkpoint it comes from.
struct ExportSource {
  /// A weight as it is asked for.
  struct Weight {
    at::Tensor values;  ///< fp32
    std::optional<quant::Encoded> codes;
  };

  /// By Hugging Face name, in their order.
  std::vector<std::string> names() const;
  Weight take(const std::string& name) const;

  model::DecoderConfig config;
  model::Weights weights;  ///< by Hugging Face name; fp32, codes beside the quantized ones
  /// What tensors and codes are read from one at a time, where `weights` has only the rest.
  std::shared_ptr<model::WeightSource> file{};
  std::filesystem::path tokenizer_path;        ///< a folder, a tokenizer file or a GGUF
  std::map<std::string, std::string> origin;   ///< "kind", "checkpoint"; goes into sterna.json
  std::map<std::string, std::string> notes{};  ///< text files to put beside the rest, by name
};

/// Opens a checkpoint of any kind; of its weights one at a time is going to be in memory.
/// @throws recipes::UserError
ExportSource open_source(const model::CheckpointInfo& info);

/// Reads it all, so that the weights can be changed.
ExportSource read_source(const model::CheckpointInfo& info);

}  // namespace sterna::exporter
