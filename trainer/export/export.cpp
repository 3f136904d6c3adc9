#include "trainer/export/export.h"

#include "recipes/user_error.h"
#include "trainer/export/side_files.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/checksums.h"
#include "trainer/model/activations.h"

namespace sterna::exporter {

namespace fs = std::filesystem;

namespace {

void require_learned(const ExportSource& source) {
  if (source.weights.activations.recipe.empty())
    return;
  model::Decoder shapes(source.config, at::kFloat);
  model::attach_activations(shapes, source.weights.activations, "what is to be exported");
  model::require_ready(shapes);
}

}  // namespace

uint64_t folder_bytes(const fs::path& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    bytes += entry.file_size();
  return bytes;
}

void export_folder(const ExportSource& source, const Format& format, const fs::path& target) {
  if (!source.weights.merged.empty() && !format.holds_merged())
    throw recipes::UserError("tensor '" + source.weights.merged.front() + "': " + kNoMerged);
  if (!source.weights.activations.recipe.empty() &&
      format.activations() == KeepsActivations::kRefused)
    throw recipes::UserError(kNoActivations);
  require_learned(source);
  fs::path clean = target.lexically_normal();
  if (!clean.has_filename())
    clean = clean.parent_path();
  if (fs::exists(clean))
    throw recipes::UserError(clean.string() +
                             ": exists already; choose another folder or remove it");
  if (clean.has_parent_path())
    fs::create_directories(clean.parent_path());
  const fs::path draft = io::make_draft_folder(clean);
  try {
    format.write(source, draft);
    if (!format.is_complete()) {
      write_config(source, format.dtype(), draft);
      write_tokenizer(source.tokenizer_path, draft);
    }
    for (const auto& [name, text] : source.notes)
      io::write_atomically(draft / name, text);
    io::write_atomically(draft / io::kChecksums, io::checksums_of(draft));
    io::publish_folder(draft, clean);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(draft, ignored);
    throw;
  }
}

}  // namespace sterna::exporter
