#include "trainer/export/weight_files.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/model/names.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAlone = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

std::string shard_name(size_t shard, size_t shards) {
  char text[64];
  std::snprintf(text, sizeof(text), "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
  return text;
}

}  // namespace

WeightFiles::WeightFiles(fs::path folder, int64_t shard_mb)
    : folder_(std::move(folder)), most_(static_cast<uint64_t>(shard_mb) * 1'000'000) {}

fs::path WeightFiles::draft(size_t shard) const {
  return folder_ / ("shard-" + std::to_string(shard));
}

void WeightFiles::close() {
  if (!file_)
    return;
  total_ += file_->bytes();
  file_->finish();
  file_.reset();
}

void WeightFiles::add(const std::string& name, const at::Tensor& tensor) {
  if (file_ && file_->bytes() > 0 && file_->bytes() + tensor.nbytes() > most_)
    close();
  if (!file_)
    file_ = std::make_unique<io::SafetensorsStream>(draft(shards_++));
  put(*file_, name, tensor);
  shard_of_[name] = shards_ - 1;
}

void WeightFiles::finish() {
  close();
  if (shards_ == 1)
    return fs::rename(draft(0), folder_ / kAlone);
  nlohmann::json map = nlohmann::json::object();
  for (const auto& [name, shard] : shard_of_)
    map[name] = shard_name(shard, shards_);
  for (size_t shard = 0; shard < shards_; ++shard)
    fs::rename(draft(shard), folder_ / shard_name(shard, shards_));
  const nlohmann::json index = {{"metadata", {{"total_size", total_}}}, {"weight_map", map}};
  io::write_atomically(folder_ / kIndexFile, index.dump(2) + "\n");
}

bool has_weight_files(const fs::path& folder) {
  return fs::exists(folder / kAlone) || fs::exists(folder / kIndexFile);
}

std::string family_of(const fs::path& folder) {
  const nlohmann::json config = io::read_json(folder / "config.json");
  const auto type = config.is_object() ? config.find("model_type") : config.end();
  if (type == config.end() || !type->is_string() || !model::is_family(*type))
    throw recipes::UserError((folder / "config.json").string() +
                             ": 'model_type': expected a family that is supported, found " +
                             (type == config.end() ? "none" : type->dump()));
  return *type;
}

}  // namespace sterna::exporter
