#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "trainer/export/source.h"

namespace sterna::exporter {

/// What re-reading an export from the disk showed.
struct Certificate {
  /// Empty where the export is what the source holds; else a line for each difference: file or
  /// tensor and first differing element.
  std::vector<std::string> mismatches;
  std::string text;        ///< certificate.json, without KLD
  int64_t tensors = 0;     ///< that were compared
  int64_t with_codes = 0;  ///< among them
};

/// Compares an export with what it was made from: checksums of all files, an older certificate's
/// own checksum, codes, scales, zero points, levels and scheme, de-quantised weights bit for bit,
/// and every other tensor bit for bit after the rounding that its stored type declares.
///
/// A flipped bit is found wherever it lies: in a file by SHA256SUMS, in SHA256SUMS because it must
/// equal the recomputed text byte for byte, in certificate.json by the checksum it ends with.
/// @throws recipes::UserError  where `folder` is no export at all
Certificate certify(const std::filesystem::path& folder, const ExportSource& source);

/// Writes certificate.json. Call it only where there are no mismatches.
/// @param kld  mean KL divergence of the export to the source on a text; null where not measured
void write_certificate(const std::filesystem::path& folder,
                       const Certificate& certificate,
                       const nlohmann::json& kld);

}  // namespace sterna::exporter
