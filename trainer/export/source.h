#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "trainer/model/load.h"

namespace sterna::exporter {

/// What an export is made from and what a certificate compares it with: the student as it is
/// evaluated, whichever kind of checkpoint it comes from.
struct ExportSource {
  model::DecoderConfig config;
  model::Weights weights;  ///< by Hugging Face name; fp32, codes beside the quantized ones
  std::filesystem::path tokenizer_path;        ///< a folder, a tokenizer file or a GGUF
  std::map<std::string, std::string> origin;   ///< "kind", "checkpoint"; goes into sterna.json
  std::map<std::string, std::string> notes{};  ///< text files to put beside the rest, by name
};

/// Reads a checkpoint of any kind. @throws recipes::UserError
ExportSource open_source(const model::CheckpointInfo& info);

}  // namespace sterna::exporter
