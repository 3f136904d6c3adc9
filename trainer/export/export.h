#pragma once

#include <filesystem>
#include <string>

#include "trainer/export/format.h"

namespace sterna::exporter {

/// Writes a complete export: the format's weights, configuration, tokenizer and SHA256SUMS. The
/// folder is made beside `target` and renamed, so the name never holds half an export.
/// @param target  must not exist
/// @throws recipes::UserError
void export_folder(const ExportSource& source,
                   const Format& format,
                   const std::filesystem::path& target);

/// Size of an export on disk.
uint64_t folder_bytes(const std::filesystem::path& folder);

}  // namespace sterna::exporter
