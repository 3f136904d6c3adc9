#include "trainer/model/identity.h"

#include <set>

#include <nlohmann/json.hpp>

#include "trainer/io/json.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

std::set<std::string> files_of_folder(const CheckpointInfo& info) {
  if (info.kind == CheckpointKind::kSternaExport)
    return {"config.json", "sterna.json", "sterna.safetensors"};
  io::open_safetensors(info.path);  // refuses what could not be read later
  if (fs::exists(info.path / "model.safetensors"))
    return {"config.json", "model.safetensors"};
  std::set<std::string> files = {"config.json", kIndex};
  const nlohmann::json index = io::read_json(info.path / kIndex);
  for (const auto& [tensor, shard] : index.at("weight_map").items())
    files.insert(shard.get<std::string>());
  return files;
}

/// File name -> SHA-256; beside the files of a run's checkpoint the recipe that reads them.
std::map<std::string, std::string> parts_of(const CheckpointInfo& info) {
  if (info.kind == CheckpointKind::kRunCheckpoint) {
    Manifest manifest = read_manifest(info.path);
    manifest.files["recipe"] = manifest.recipe;
    return manifest.files;
  }
  if (info.kind == CheckpointKind::kGguf)
    return {{"weights", io::sha256_of_file(info.path)}};
  std::map<std::string, std::string> parts;
  for (const std::string& file : files_of_folder(info))
    parts[file] = io::sha256_of_file(info.path / file);
  return parts;
}

}  // namespace

std::string identity(const CheckpointInfo& info) {
  io::Sha256 hash;
  for (const auto& [name, part] : parts_of(info))
    hash.update(name + "\n" + part + "\n");
  return hash.hex();
}

}  // namespace sterna::model
