// Opening a checkpoint takes its size in the target dtype and one shard's mapping, no more.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/memory.h"
#include "tests/support/temp_folder.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/load.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = int64_t{1} << 20;

/// A checkpoint of about 60 MiB in fp32, a shard for each layer.
void write_sharded(const fs::path& folder) {
  const nlohmann::json config = {{"model_type", "llama"},
                                 {"vocab_size", 4096},
                                 {"hidden_size", 512},
                                 {"intermediate_size", 1536},
                                 {"num_hidden_layers", 4},
                                 {"num_attention_heads", 8},
                                 {"tie_word_embeddings", true}};
  std::ofstream(folder / "config.json") << config;
  Decoder shapes(read_hf_config(folder), at::kFloat);
  const std::vector<float> values(4096 * 512, 0.5f);
  std::map<std::string, std::vector<io::TensorToWrite>> shards;
  nlohmann::json map;
  for (const Parameter& p : shapes.parameters()) {
    const std::string shard = "part" + std::to_string(p.layer) + ".safetensors";
    size_t size = 1;
    for (const int64_t n : p.shape)
      size *= static_cast<size_t>(n);
    shards[shard].push_back(
        {p.name, io::Dtype::kF32, p.shape, std::as_bytes(std::span(values).first(size))});
    map[p.name] = shard;
  }
  for (auto& [name, tensors] : shards)
    io::write_safetensors(folder / name, std::move(tensors));
  std::ofstream(folder / "model.safetensors.index.json") << nlohmann::json{{"weight_map", map}};
}

int64_t largest_shard(const fs::path& folder) {
  int64_t most = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    most = std::max(most, static_cast<int64_t>(entry.file_size()));
  return most;
}

class LoadingMemory : public testing::TestWithParam<at::ScalarType> {};

TEST_P(LoadingMemory, StaysBelowTheModelAndOneShard) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "this kernel does not give back the high-water mark of memory";
  const tests::TempFolder folder;
  write_sharded(folder.path());
  const CheckpointInfo info = inspect(folder.path());
  load_decoder(info, GetParam());  // code that is used for the first time is memory too
  const tests::PeakMemory peak;
  const Decoder decoder = load_decoder(info, GetParam());
  const int64_t size = info.config.parameters() * static_cast<int64_t>(at::elementSize(GetParam()));
  EXPECT_GT(size, 25 * kMiB);
  // The margin is for what the heap and the kernel's pages hold beside it (7 MiB seen): an fp32
  // copy would be 50 MiB more, shards left mapped 40 MiB.
  EXPECT_LT(peak.bytes(), size + largest_shard(folder.path()) + 20 * kMiB);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, LoadingMemory, testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace sterna::model
