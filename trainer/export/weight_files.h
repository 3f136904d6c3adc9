#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "recipes/recipe.h"
#include "trainer/export/tensors.h"

namespace sterna::exporter {

inline constexpr int64_t kShardMb = 5000;

/// The field `shard_mb`, as every layout of a Hugging Face folder has it.
template <class Visitor>
void visit_shard_mb(Visitor& v, int64_t& shard_mb) {
  v("shard_mb",
    shard_mb,
    "largest file of weights in MB (10^6 bytes); more of them go into further ones",
    recipes::Range<int64_t>{1, 1'000'000});
}

/// The weights of a Hugging Face folder: model.safetensors, or model-00001-of-0000K.safetensors and
/// model.safetensors.index.json. Tensors come one after the other and need not stay.
class WeightFiles {
 public:
  WeightFiles(std::filesystem::path folder, int64_t shard_mb);

  void add(const std::string& name, const at::Tensor& tensor);

  /// Gives the files their names, the index last; nothing can be added afterwards.
  void finish();

 private:
  std::filesystem::path draft(size_t shard) const;
  void close();

  std::filesystem::path folder_;
  uint64_t most_;
  std::unique_ptr<io::SafetensorsStream> file_;
  std::map<std::string, size_t> shard_of_;
  size_t shards_ = 0;
  uint64_t total_ = 0;
};

/// True for a folder with what WeightFiles leaves.
bool has_weight_files(const std::filesystem::path& folder);

/// "model_type" of a folder's config.json. @throws recipes::UserError  where that is no family
std::string family_of(const std::filesystem::path& folder);

}  // namespace sterna::exporter
