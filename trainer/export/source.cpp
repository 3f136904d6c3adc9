#include "trainer/export/source.h"

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

}  // namespace

ExportSource open_source(const model::CheckpointInfo& info) {
  ExportSource source;
  source.config = info.config;
  source.weights = model::read_weights(info);
  source.tokenizer_path = info.tokenizer_path;
  // The last part only: an export should not tell where its maker keeps files.
  source.origin = {{"kind", kind_name(info.kind)}, {"checkpoint", info.path.filename().string()}};
  if (info.kind == model::CheckpointKind::kRunCheckpoint) {
    const model::Manifest manifest = model::read_manifest(info.path);
    source.origin["stage"] = manifest.stage;
    source.origin["step"] = std::to_string(manifest.step);
  }
  return source;
}

}  // namespace sterna::exporter
