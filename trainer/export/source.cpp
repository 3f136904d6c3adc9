#include "trainer/export/source.h"

#include "recipes/user_error.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::exporter {

namespace {

const char* kind_name(model::CheckpointKind kind) {
  switch (kind) {
    case model::CheckpointKind::kHuggingFace:
      return "hugging_face";
    case model::CheckpointKind::kGguf:
      return "gguf";
    case model::CheckpointKind::kSternaExport:
      return "sterna";
    default:
      return "run";
  }
}

// Newest complete checkpoint of a run folder, or the path itself.
std::filesystem::path checkpoint_of(const std::filesystem::path& path,
                                    std::vector<std::string>& remarks) {
  const bool run = std::filesystem::is_directory(path / "checkpoints");
  if (!run)
    return path;
  const std::filesystem::path newest = model::newest_checkpoint(path, remarks);
  if (newest.empty())
    throw recipes::UserError(path.string() + ": holds no complete checkpoint; train on first");
  return newest;
}

void read_run(const std::filesystem::path& checkpoint, ExportSource& source) {
  const model::Manifest manifest = model::read_manifest(checkpoint);
  model::verify_checkpoint(checkpoint, manifest);
  const model::CheckpointInfo info = model::inspect(manifest.source);
  source.config = info.config;
  source.tokenizer_path = info.tokenizer_path;
  source.weights = model::read_run_weights(checkpoint);
  source.origin = {{"kind", "run"},
                   {"checkpoint", checkpoint.filename().string()},
                   {"stage", manifest.stage},
                   {"step", std::to_string(manifest.step)}};
}

}  // namespace

ExportSource open_source(const std::filesystem::path& path) {
  ExportSource source;
  const std::filesystem::path checkpoint = checkpoint_of(path, source.remarks);
  if (std::filesystem::exists(checkpoint / "manifest.json")) {
    read_run(checkpoint, source);
    return source;
  }
  const model::CheckpointInfo info = model::inspect(checkpoint);
  source.config = info.config;
  source.weights = model::read_weights(info);
  source.tokenizer_path = info.tokenizer_path;
  // The last part only: an export should not tell where its maker keeps files.
  source.origin = {{"kind", kind_name(info.kind)}, {"checkpoint", info.path.filename().string()}};
  return source;
}

}  // namespace sterna::exporter
