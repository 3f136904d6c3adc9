#include "trainer/model/load.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/json.h"
#include "trainer/model/run_checkpoint.h"
#include "trainer/model/sterna_export.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;
using recipes::UserError;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::unique_ptr<WeightSource> open_weights(const CheckpointInfo& info) {
  switch (info.kind) {
    case CheckpointKind::kHuggingFace:
      return open_hf_weights(info.path);
    case CheckpointKind::kGguf:
      return open_gguf_weights(info.path, info.config);
    case CheckpointKind::kSternaExport:
      return hold_weights(read_sterna_export(info.path), info.path);
    case CheckpointKind::kRun:
    case CheckpointKind::kRunCheckpoint:
      return hold_weights(read_run_weights(info.path), info.path);
  }
  TORCH_CHECK(false, "unknown kind of checkpoint");
}

// Up to three names, so that a wrong prefix does not print a page.
std::string some(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 3); ++i)
    text += (i == 0 ? "" : ", ") + names[i];
  return text + (names.size() > 3 ? " and " + std::to_string(names.size() - 3) + " more" : "");
}

// Names and shapes before anything is read.
void check_complete(const std::vector<Parameter>& expected, const WeightSource& source, bool tied) {
  const auto names = source.names();
  std::set<std::string> extra(names.begin(), names.end());
  std::vector<std::string> missing;
  const std::string where = source.path().string();
  for (const Parameter& p : expected) {
    if (extra.erase(p.name) == 0) {
      missing.push_back(p.name);
    } else if (source.shape(p.name) != p.shape) {
      throw io::FileError(where + ": tensor " + p.name + " has shape " +
                          shape_text(source.shape(p.name)) + ", the configuration asks for " +
                          shape_text(p.shape));
    }
  }
  if (tied)
    extra.erase("lm_head.weight");  // a copy of the embedding
  if (!missing.empty())
    throw io::FileError(where + ": missing " + some(missing) +
                        (missing.back() == "lm_head.weight"
                             ? "; is 'tie_word_embeddings' wrong in config.json?"
                             : "; is the file complete, and does config.json belong to it?"));
  if (!extra.empty())
    throw io::FileError(where + ": the model has no place for " +
                        some({extra.begin(), extra.end()}) +
                        "; does config.json belong to this file?");
}

CheckpointInfo inspect_run_checkpoint(const fs::path& path) {
  const CheckpointInfo source = inspect(read_manifest(path).source);
  return {CheckpointKind::kRunCheckpoint, path, source.tokenizer_path, source.config};
}

CheckpointInfo inspect_run(const fs::path& path) {
  std::vector<std::string> torn;
  const fs::path newest = newest_checkpoint(path, torn);
  if (newest.empty()) {
    throw UserError(path.string() + ": this run has no complete checkpoint yet" +
                    (torn.empty() ? "" : "; the newest is damaged: " + torn.front()));
  }
  return inspect_run_checkpoint(newest);
}

CheckpointInfo inspect_folder(const fs::path& path) {
  if (is_sterna_export(path))
    return {CheckpointKind::kSternaExport, path, path, read_hf_config(path)};
  if (fs::exists(path / "manifest.json"))
    return inspect_run_checkpoint(path);
  if (fs::exists(path / "recipe.toml"))
    return inspect_run(path);
  if (fs::exists(path / "config.json"))
    return {CheckpointKind::kHuggingFace, path, path, read_hf_config(path)};
  throw UserError(path.string() +
                  ": no checkpoint here; expected a folder with config.json and safetensors, "
                  "sterna.json (an export), recipe.toml (a run) or manifest.json (its checkpoint)");
}

}  // namespace

CheckpointInfo inspect(const fs::path& path) {
  if (!fs::exists(path))
    throw UserError(path.string() + ": no such file or folder");
  if (fs::is_directory(path))
    return inspect_folder(path);
  if (!io::is_gguf(path)) {
    throw UserError(path.string() + ": a checkpoint is a folder or a GGUF file, this is neither" +
                    (path.extension() == ".safetensors" || path.filename() == "config.json"
                         ? "; give the folder that it lies in"
                         : ""));
  }
  return {CheckpointKind::kGguf, path, path, read_gguf_config(*io::open_gguf(path))};
}

Weights read_weights(const CheckpointInfo& info) {
  if (info.kind == CheckpointKind::kSternaExport)
    return read_sterna_export(info.path);
  if (info.kind == CheckpointKind::kRunCheckpoint || info.kind == CheckpointKind::kRun)
    return read_run_weights(info.path);
  const auto source = open_weights(info);
  check_complete(Decoder(info.config, at::kFloat).parameters(), *source, info.config.tied);
  Weights weights;
  for (const std::string& name : source->names()) {
    if (!(info.config.tied && name == "lm_head.weight"))
      weights.tensors.emplace(name, source->take(name));
  }
  return weights;
}

Decoder load_decoder(const CheckpointInfo& info, at::ScalarType compute_dtype) {
  Decoder decoder(info.config, compute_dtype);
  const auto source = open_weights(info);
  const std::vector<Parameter> parameters = decoder.parameters();
  check_complete(parameters, *source, info.config.tied);
  // One tensor at a time is alive in fp32 beside the model.
  for (const Parameter& p : parameters)
    *p.value = source->take(p.name).to(p.matrix ? compute_dtype : at::kFloat);
  return decoder;
}

}  // namespace sterna::model
