#include "trainer/export/source.h"

#include <algorithm>

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

ExportSource without_weights(const model::CheckpointInfo& info) {
  ExportSource source;
  source.config = info.config;
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

}  // namespace

std::vector<std::string> ExportSource::names() const {
  std::vector<std::string> all;
  if (file) {
    all = file->names();
    std::sort(all.begin(), all.end());
  }
  for (const auto& [name, tensor] : weights.tensors)
    all.push_back(name);
  if (config.tied)  // the embedding, which is there once
    std::erase(all, "lm_head.weight");
  return all;
}

ExportSource::Weight ExportSource::take(const std::string& name) const {
  if (!file) {
    const auto codes = weights.encoded.find(name);
    return {weights.tensors.at(name),
            codes == weights.encoded.end() ? std::nullopt : std::optional(codes->second)};
  }
  Weight weight;
  weight.codes = file->codes(name);
  weight.values = weight.codes ? quant::decode(*weight.codes) : file->take(name, at::kFloat);
  return weight;
}

ExportSource open_source(const model::CheckpointInfo& info) {
  ExportSource source = without_weights(info);
  source.file = model::open_weights(info);
  for (const std::string& name : source.names())
    if (source.file->merged(name))
      source.weights.merged.push_back(name);
  source.weights.activations = source.file->activations();
  return source;
}

ExportSource read_source(const model::CheckpointInfo& info) {
  ExportSource source = without_weights(info);
  source.weights = model::read_weights(info);
  return source;
}

}  // namespace sterna::exporter
