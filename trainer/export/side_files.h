#pragma once

#include <filesystem>
#include <string>

#include "trainer/export/source.h"

namespace sterna::exporter {

/// Writes config.json and generation_config.json: the source's own where its folder has them, with
/// dtype and tying corrected, else made from the decoder's description; with what a config.json in
/// the folder says already.
/// @param dtype  "bfloat16", "float16" or "float32"
/// @throws recipes::UserError  where the description says what a Hugging Face config cannot
void write_config(const ExportSource& source,
                  const std::string& dtype,
                  const std::filesystem::path& folder);

/// Copies the tokenizer's files, or writes tokenizer.json and tokenizer_config.json from the
/// metadata of a GGUF with a byte-level BPE.
/// @throws recipes::UserError  naming the kind of tokenizer that cannot be written
void write_tokenizer(const std::filesystem::path& from, const std::filesystem::path& folder);

}  // namespace sterna::exporter
