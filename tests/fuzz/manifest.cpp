// The manifest of a run's checkpoint, beside tensors that are sound. It is hashed but for "source",
// so nothing else in it may change unseen; what lies behind the hash is reached by making it right
// again.
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests::fuzz {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kTensors[] = {"master", "moment1", "moment2"};

void write_tensors(const fs::path& folder) {
  const std::string data(96, '\1');
  const auto bytes = std::as_bytes(std::span(data));
  for (const std::string& kind : kTensors)
    io::write_safetensors(
        folder / (kind + ".safetensors"),
        {{"a.weight", io::Dtype::kF32, {4, 6}, bytes}, {"b", io::Dtype::kF32, {}, bytes.first(4)}},
        {});
}

std::vector<std::string> seeds() {
  const TempFolder folder;
  write_tensors(folder);
  model::Manifest manifest;
  manifest.stage = "train";
  manifest.step = 40;
  manifest.source = "/models/tiny";
  manifest.recipe = "[train]\nsteps = 40\n\n[quant]\nweight = { name = \"twn\" }\n";
  manifest.code_version = "0.1.0";
  manifest.hashes = {{"tokenizer", std::string(64, '1')}, {"data", std::string(64, '2')}};
  for (const char* key : {"blocks", "skipped", "bad_in_row", "applied", "best", "best_step"})
    manifest.state[key] = 3;
  for (const std::string& kind : kTensors) {
    const std::string file = kind + ".safetensors";
    manifest.files[file] = io::sha256_of_file(folder / file);
    manifest.tensors.push_back({"a.weight", kind, io::Dtype::kF32, {4, 6}, {{file, 0, 4}}});
    manifest.tensors.push_back({"b", kind, io::Dtype::kF32, {}, {{file, 0, 1}}});
  }
  model::write_manifest(folder, manifest);
  const std::string current = bytes_of(folder / "manifest.json");
  json older = json::parse(current);  // of before manifests were hashed
  older.erase("sha256");
  return {current, older.dump(1) + "\n"};
}

void read(const fs::path& folder) {
  const model::Manifest manifest = model::read_manifest(folder);
  model::verify_checkpoint(folder, manifest);
  for (const std::string& kind : kTensors)
    model::read_kind(folder, manifest, kind);
  model::step_of_plan(manifest);
}

json parsed(const std::string& text) {
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

/// What the hash stands for.
json hashed_part(json manifest) {
  manifest.erase("sha256");
  manifest.erase("source");
  return manifest;
}

bool is_signed(const json& manifest) {
  return manifest.is_object() && manifest.contains("sha256");
}

std::string signed_again(const std::string& input) {
  json manifest = parsed(input);
  if (!is_signed(manifest))
    return input;
  const std::string text =
      hashed_part(manifest).dump(-1, ' ', true, json::error_handler_t::replace);
  manifest["sha256"] = io::sha256_hex(std::as_bytes(std::span(text)));
  return manifest.dump(1, ' ', true, json::error_handler_t::replace);
}

bool feed(const std::string& input) {
  static MemoryFolder folder("manifest.json");
  static const json sound = hashed_part(parsed(seeds().front()));
  if (!fs::exists(folder.path() / "master.safetensors"))
    write_tensors(folder.path());
  const bool accepted = reads([&] { read(folder.hold(input)); });
  if (accepted && is_signed(parsed(input)) && hashed_part(parsed(input)) != sound)
    throw std::logic_error("a manifest that was changed was accepted");
  return reads([&] { read(folder.hold(signed_again(input))); });
}

}  // namespace

Target manifest_target() {
  return {"manifest", seeds, feed};
}

}  // namespace sterna::tests::fuzz
