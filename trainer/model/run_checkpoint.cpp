// Manifest v1 (JSON): what a checkpoint folder holds, with a SHA-256 per file and one of itself. It
// is the last file to be written, so a folder that has one was complete once; its hashes say
// whether it still is.
#include "trainer/model/run_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/io/sha256.h"

namespace sterna::model {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kOwnHash = "sha256";
constexpr const char* kShardOf = "-of-";
constexpr const char* kShardEnding = ".safetensors";

/// "source" may be written anew by hand, where a checkpoint was moved.
std::string own_hash(json manifest) {
  manifest.erase(kOwnHash);
  manifest.erase("source");
  const std::string text = manifest.dump(-1, ' ', /*ensure_ascii=*/true);
  return io::sha256_hex(std::as_bytes(std::span(text)));
}

/// Manifests of before this hash do not have it.
void require_own_hash(const json& manifest) {
  if (!manifest.is_object() || !manifest.contains(kOwnHash))
    return;
  if (manifest.at(kOwnHash) != own_hash(manifest))
    throw std::invalid_argument(
        "damaged: it is not what its own \"sha256\" stands for; if you changed more than "
        "\"source\" yourself, remove the key \"sha256\"");
}

json to_json(const CheckpointTensor& tensor) {
  json slices = json::array();
  for (const auto& slice : tensor.slices)
    slices.push_back({{"file", slice.file}, {"rows", {slice.begin, slice.end}}});
  return {{"name", tensor.name},
          {"kind", tensor.kind},
          {"dtype", io::dtype_name(tensor.dtype)},
          {"shape", tensor.shape},
          {"slices", slices}};
}

CheckpointTensor tensor_of(const json& j) {
  CheckpointTensor tensor;
  j.at("name").get_to(tensor.name);
  j.at("kind").get_to(tensor.kind);
  j.at("shape").get_to(tensor.shape);
  if (j.at("dtype") != "F32")
    throw std::invalid_argument("tensor " + tensor.name + " is not F32");
  for (const json& slice : j.at("slices"))
    tensor.slices.push_back({slice.at("file").get<std::string>(),
                             slice.at("rows").at(0).get<int64_t>(),
                             slice.at("rows").at(1).get<int64_t>()});
  return tensor;
}

/// What a run cannot be continued without; of `hashes` the first version knew only these.
void require_complete(const Manifest& m) {
  const auto need = [](const auto& map, const char* field, std::initializer_list<const char*> all) {
    for (const char* key : all)
      if (map.count(key) == 0)
        throw std::invalid_argument(std::string(field) + " lacks '" + key + "'");
  };
  if (m.stage != "blockwise" && m.stage != "train")
    throw std::invalid_argument("stage '" + m.stage + "' is neither blockwise nor train");
  if (m.step < 0)
    throw std::invalid_argument("step " + std::to_string(m.step) + " is below 0");
  need(m.hashes, "hashes", {"tokenizer", "data"});
  need(m.state, "state", {"blocks", "skipped", "bad_in_row", "applied", "best", "best_step"});
  std::map<std::string, std::set<std::string>> names;
  for (const char* key : {"blocks", "skipped", "bad_in_row", "applied", "best_step"}) {
    constexpr double kExact = 9007199254740992;  // 2^53
    const double value = m.state.at(key);
    if (!(value >= 0 && value < kExact && value == std::floor(value)))
      throw std::invalid_argument(std::string("state '") + key + "' is no whole number");
  }
  for (const auto& [file, hash] : m.files) {
    if (file.empty() || file == "." || file == ".." || fs::path(file).filename() != file)
      throw std::invalid_argument("files names '" + file + "', which is no plain file name");
  }
  for (const CheckpointTensor& tensor : m.tensors) {
    if (!names[tensor.kind].insert(tensor.name).second)
      throw std::invalid_argument("tensors lists " + tensor.kind + " " + tensor.name + " twice");
    for (const auto& slice : tensor.slices)
      need(m.files, "files", {slice.file.c_str()});
  }
  if (names["moment1"] != names["moment2"])
    throw std::invalid_argument("tensors have one moment without the other");
}

Manifest manifest_of(const json& j) {
  Manifest m;
  j.at("format").get_to(m.format);
  if (m.format != 1)
    throw std::invalid_argument("format " + std::to_string(m.format) + ", this program reads 1");
  j.at("stage").get_to(m.stage);
  j.at("step").get_to(m.step);
  j.at("source").get_to(m.source);
  j.at("recipe").get_to(m.recipe);
  j.at("code_version").get_to(m.code_version);
  j.at("hashes").get_to(m.hashes);
  j.at("state").get_to(m.state);
  j.at("files").get_to(m.files);
  for (const json& tensor : j.at("tensors"))
    m.tensors.push_back(tensor_of(tensor));
  require_complete(m);
  return m;
}

/// "rank 1 of 4" by what shard_file() gives; empty where one rank wrote all.
std::string writer_of(const std::string& file) {
  const size_t of = file.rfind(kShardOf);
  const size_t dash = of == std::string::npos ? of : file.rfind('-', of - 1);
  if (dash == std::string::npos)
    return {};
  int64_t number = 0;
  int64_t ranks = 0;
  const char* text = file.data();
  std::from_chars(text + dash + 1, text + of, number);
  std::from_chars(text + of + std::string_view(kShardOf).size(), text + file.size(), ranks);
  return "rank " + std::to_string(number - 1) + " of " + std::to_string(ranks);
}

/// What is lost with a file, in brackets.
std::string content_of(const std::string& file, const Manifest& manifest) {
  std::string first;
  int64_t others = -1;
  for (const CheckpointTensor& tensor : manifest.tensors) {
    for (const auto& slice : tensor.slices) {
      if (slice.file != file)
        continue;
      if (++others == 0)
        first = "rows " + std::to_string(slice.begin) + " to " + std::to_string(slice.end) +
                " of " + tensor.kind + " " + tensor.name;
    }
  }
  if (first.empty())
    return {};
  const std::string writer = writer_of(file);
  return " (" + (writer.empty() ? std::string("it holds ") : writer + " wrote it: ") + first +
         (others > 0 ? " and " + std::to_string(others) + " more" : "") + ")";
}

// "step-12" -> {1, 12}, "block-3" -> {0, 3}: steps come after blocks.
std::pair<int, int64_t> age(const fs::path& folder) {
  const std::string name = folder.filename().string();
  const size_t dash = name.find('-');
  int64_t number = -1;
  if (dash != std::string::npos) {
    const char* end = name.data() + name.size();
    const auto [last, error] = std::from_chars(name.data() + dash + 1, end, number);
    if (error != std::errc() || last != end)
      number = -1;
  }
  const std::string stage = name.substr(0, dash);
  if (number < 0 || (stage != "step" && stage != "block"))
    return {-1, -1};
  return {stage == "step" ? 1 : 0, number};
}

}  // namespace

Manifest read_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kManifest;
  if (!fs::exists(path))
    throw io::FileError(checkpoint.string() +
                        ": no manifest.json: this checkpoint was never completed");
  try {
    const json root = io::read_json(path);
    require_own_hash(root);
    return manifest_of(root);
  } catch (const std::exception& error) {  // json's own errors and ours: both mean a damaged file
    throw io::FileError(path.string() + ": not a manifest of format 1: " + error.what());
  }
}

void write_manifest(const fs::path& checkpoint, const Manifest& m) {
  json tensors = json::array();
  for (const CheckpointTensor& tensor : m.tensors)
    tensors.push_back(to_json(tensor));
  json j = {{"format", m.format},
            {"stage", m.stage},
            {"step", m.step},
            {"source", m.source},
            {"recipe", m.recipe},
            {"code_version", m.code_version},
            {"hashes", m.hashes},
            {"state", m.state},
            {"files", m.files},
            {"tensors", tensors}};
  j[kOwnHash] = own_hash(j);
  io::write_atomically(checkpoint / kManifest, j.dump(1) + "\n");
}

std::string shard_file(const std::string& kind, int64_t rank, int64_t ranks) {
  if (ranks == 1)
    return kind + kShardEnding;
  const auto five = [](int64_t number) {
    const std::string digits = std::to_string(number);
    return std::string(5 - std::min<size_t>(digits.size(), 5), '0') + digits;
  };
  return kind + "-" + five(rank + 1) + kShardOf + five(ranks) + kShardEnding;
}

void verify_checkpoint(const fs::path& checkpoint, const Manifest& manifest) {
  for (const auto& [file, expected] : manifest.files) {
    const fs::path path = checkpoint / file;
    if (!fs::is_regular_file(path))
      throw io::FileError(path.string() + ": missing, though the manifest lists it" +
                          content_of(file, manifest));
    const std::string found = io::sha256_of_file(path);
    if (found != expected)
      throw io::FileError(path.string() + ": damaged: SHA-256 is " + found +
                          ", the manifest says " + expected + content_of(file, manifest));
  }
}

std::vector<fs::path> checkpoints_of_run(const fs::path& run) {
  std::vector<fs::path> found;
  if (!fs::is_directory(run / "checkpoints"))
    return found;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
    if (entry.is_directory() && age(entry.path()).first >= 0)
      found.push_back(entry.path());
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    return age(a) < age(b);
  });
  return found;
}

fs::path newest_checkpoint(const fs::path& run, std::vector<std::string>& torn) {
  std::vector<fs::path> all = checkpoints_of_run(run);
  std::reverse(all.begin(), all.end());
  for (const fs::path& checkpoint : all) {
    try {
      verify_checkpoint(checkpoint, read_manifest(checkpoint));
      return checkpoint;
    } catch (const io::FileError& error) {
      torn.push_back(error.what());
    }
  }
  return {};
}

}  // namespace sterna::model
