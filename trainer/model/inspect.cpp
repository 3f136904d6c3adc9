// What a CHECKPOINT argument is, and whether it is whole: by its manifest, or its SHA256SUMS.
#include <algorithm>

#include "recipes/user_error.h"
#include "trainer/io/checksums.h"
#include "trainer/model/load.h"
#include "trainer/model/run_checkpoint.h"
#include "trainer/model/sterna_export.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;
using recipes::UserError;

/// Whether the files of a run or an export are hashed: not where only its configuration and
/// tokenizer are wanted.
enum class Hashes { kCheck, kTrust };

/// Of an export in the layout "gguf".
constexpr const char* kGgufInFolder = "model.gguf";

CheckpointInfo look(const fs::path& path, Hashes hashes);

CheckpointInfo start_of_run(const fs::path& checkpoint, const Manifest& manifest) {
  const std::string needed = checkpoint.string() +
                             ": needs the configuration and tokenizer of the checkpoint that its "
                             "run started from, " +
                             manifest.source;
  const std::string remedy = "; put it back there, or write where it is now as \"source\" into " +
                             (checkpoint / "manifest.json").string();
  if (!fs::exists(manifest.source))
    throw UserError(needed + ", and nothing is there any more" + remedy);
  try {
    return look(manifest.source, Hashes::kTrust);
  } catch (const UserError& error) {
    throw UserError(needed + ", which cannot be used: " + error.what() + remedy);
  }
}

Manifest whole_manifest(const fs::path& path, Hashes hashes) {
  try {
    Manifest manifest = read_manifest(path);
    if (hashes == Hashes::kCheck)
      verify_checkpoint(path, manifest);
    return manifest;
  } catch (const io::FileError& error) {
    throw io::FileError(error.what() +
                        std::string("; use another checkpoint, or give the run's folder: it takes "
                                    "the newest one that is whole"));
  }
}

CheckpointInfo inspect_run_checkpoint(const fs::path& path, Hashes hashes) {
  const Manifest manifest = whole_manifest(path, hashes);
  const CheckpointInfo start = start_of_run(path, manifest);
  return {CheckpointKind::kRunCheckpoint, path, start.tokenizer_path, start.config, {}};
}

// Newest first; complete as far as a manifest can say.
fs::path newest_with_manifest(const fs::path& run) {
  std::vector<fs::path> all = checkpoints_of_run(run);
  const auto found = std::find_if(all.rbegin(), all.rend(), [](const fs::path& checkpoint) {
    return fs::exists(checkpoint / "manifest.json");
  });
  return found == all.rend() ? fs::path() : *found;
}

CheckpointInfo inspect_run(const fs::path& path, Hashes hashes) {
  std::vector<std::string> torn;
  const fs::path newest =
      hashes == Hashes::kCheck ? newest_checkpoint(path, torn) : newest_with_manifest(path);
  if (newest.empty())
    throw UserError(path.string() + ": this run has no complete checkpoint yet" +
                    (torn.empty() ? "; train on (`sterna train RECIPE --resume`)"
                                  : "; the newest is damaged: " + torn.front()));
  CheckpointInfo info = inspect_run_checkpoint(newest, Hashes::kTrust);  // hashed above
  for (const std::string& message : torn)
    info.remarks.push_back("WARNING: " + message + "; falling back to " + newest.string());
  return info;
}

// An export is copied file by file; what says its layout may arrive without the rest.
void require_whole_export(const fs::path& path) {
  for (const char* part : {"sterna.json", "sterna.safetensors", "config.json"}) {
    if (!fs::exists(path / part))
      throw io::FileError(path.string() + ": this export is incomplete: " + part +
                          " is not there; copy the whole folder (its SHA256SUMS lists the files) "
                          "or export the run again");
  }
}

bool looks_like_run_checkpoint(const fs::path& path) {
  return fs::exists(path / "manifest.json") || fs::exists(path / "master.safetensors");
}

CheckpointInfo look_into_folder(const fs::path& path, Hashes hashes) {
  const bool packed = is_sterna_export(path) || fs::exists(path / "sterna.safetensors");
  if (packed)
    require_whole_export(path);
  // Whoever opens an export reads all of it anyway; hashing adds a second for 1.7 GB.
  if (hashes == Hashes::kCheck)
    io::require_checksums(path);
  if (packed)
    return {CheckpointKind::kSternaExport, path, path, read_hf_config(path), {}};
  if (fs::exists(path / kGgufInFolder))
    return look(path / kGgufInFolder, hashes);
  if (looks_like_run_checkpoint(path))
    return inspect_run_checkpoint(path, hashes);
  if (fs::exists(path / "recipe.toml"))
    return inspect_run(path, hashes);
  if (fs::exists(path / "config.json"))
    return {CheckpointKind::kHuggingFace, path, path, read_hf_config(path), {}};
  throw UserError(path.string() +
                  ": no checkpoint here; expected a folder with config.json and safetensors, "
                  "sterna.json (an export), recipe.toml (a run) or manifest.json (its checkpoint)");
}

CheckpointInfo look(const fs::path& path, Hashes hashes) {
  if (!fs::exists(path))
    throw UserError(path.string() + ": no such file or folder");
  if (fs::is_directory(path))
    return look_into_folder(path, hashes);
  if (!io::is_gguf(path)) {
    throw UserError(path.string() + ": a checkpoint is a folder or a GGUF file, this is neither" +
                    (path.extension() == ".safetensors" || path.filename() == "config.json"
                         ? "; give the folder that it lies in"
                         : ""));
  }
  return {CheckpointKind::kGguf, path, path, read_gguf_config(*io::open_gguf(path)), {}};
}

}  // namespace

CheckpointInfo inspect(const fs::path& path) {
  return look(path, Hashes::kCheck);
}

}  // namespace sterna::model
