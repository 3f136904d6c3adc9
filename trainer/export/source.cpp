#include "trainer/export/source.h"

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

ExportSource open_source(const std::filesystem::path& checkpoint) {
  const model::CheckpointInfo info = model::inspect(checkpoint);
  ExportSource source;
  source.config = info.config;
  source.weights = model::read_weights(info);
  source.tokenizer_path = info.tokenizer_path;
  // The last part only: an export should not tell where its maker keeps files.
  source.origin = {{"kind", kind_name(info.kind)}, {"checkpoint", info.path.filename().string()}};
  return source;
}

}  // namespace sterna::exporter
