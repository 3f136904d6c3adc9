// Opening a checkpoint takes its size in the target dtype and one shard's mapping, no more.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "quant/pack.h"
#include "tests/support/memory.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"
#include "trainer/model/load.h"
#include "trainer/model/quantizers.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = int64_t{1} << 20;
const std::vector<float> kValues(4096 * 512, 0.5f);

std::span<const std::byte> bytes_of(const Parameter& p) {
  size_t size = 1;
  for (const int64_t n : p.shape)
    size *= static_cast<size_t>(n);
  return std::as_bytes(std::span(kValues).first(size));
}

/// A checkpoint of about 60 MiB in fp32, a shard for each layer.
void write_sharded(const fs::path& folder) {
  std::ofstream(folder / "config.json") << tests::llama_config(tests::wide_model(4));
  Decoder shapes(read_hf_config(folder), at::kFloat);
  std::map<std::string, std::vector<io::TensorToWrite>> shards;
  nlohmann::json map;
  for (const Parameter& p : shapes.parameters()) {
    const std::string shard = "part" + std::to_string(p.layer) + ".safetensors";
    shards[shard].push_back({p.name, io::Dtype::kF32, p.shape, bytes_of(p)});
    map[p.name] = shard;
  }
  for (auto& [name, tensors] : shards)
    io::write_safetensors(folder / name, std::move(tensors));
  std::ofstream(folder / "model.safetensors.index.json") << nlohmann::json{{"weight_map", map}};
}

/// The same as 4-bit codes, the embedding as Q8_0.
void write_export(const fs::path& folder) {
  std::ofstream(folder / "config.json") << tests::llama_config(tests::wide_model(4));
  Decoder shapes(read_hf_config(folder), at::kFloat);
  const std::vector<std::byte> zeros(4096 * 512 * 2);
  std::vector<io::TensorToWrite> writes;
  nlohmann::json entries;
  const auto add = [&](const std::string& name, io::Dtype dtype, std::vector<int64_t> shape) {
    const size_t size = io::bytes_of(dtype, io::elements_of(shape));
    writes.push_back({name, dtype, std::move(shape), std::span(zeros).first(size)});
  };
  for (const Parameter& p : shapes.parameters()) {
    nlohmann::json& entry = entries[p.name];
    const int64_t n = p.shape[0], k = p.matrix ? p.shape[1] : 0;
    if (!p.matrix) {
      entry = {{"storage", "plain"}};
      add(p.name, io::Dtype::kF32, p.shape);
    } else if (p.layer < 0) {
      entry = {{"storage", "q8_0"}, {"shape", p.shape}};
      add(p.name + ".q8_0", io::Dtype::kU8, {n, k / 32 * 34});
    } else {
      entry = {{"storage", "codes"},
               {"shape", p.shape},
               {"grid", "affine"},
               {"bits", 4},
               {"code_min", 0},
               {"group", 32},
               {"offset", 8},
               {"zeros", "none"},
               {"scale_dtype", "BF16"}};
      add(p.name + ".codes", io::Dtype::kU8, {n, quant::packed_row_bytes(k, 4)});
      add(p.name + ".scales", io::Dtype::kBF16, {n, k / 32});
    }
  }
  io::write_safetensors(folder / "sterna.safetensors", std::move(writes));
  std::ofstream(folder / "sterna.json")
      << nlohmann::json{{"format", 1}, {"layout", "sterna"}, {"tensors", entries}};
}

/// A run that started from the sharded one and makes its matrices ternary; its masters lie in one
/// file of 60 MiB.
void write_run(const fs::path& folder) {
  const fs::path start = folder / "start";
  fs::create_directory(start);
  write_sharded(start);
  Manifest manifest;
  manifest.stage = "train";
  manifest.source = start.string();
  manifest.recipe = "[quant]\nweight = { name = \"twn\" }\n";
  manifest.hashes = {{"tokenizer", "t"}, {"data", "d"}};
  for (const char* key : {"blocks", "skipped", "bad_in_row", "applied", "best", "best_step"})
    manifest.state[key] = 1;
  std::map<std::string, std::vector<io::TensorToWrite>> kinds;
  const auto add = [&](const std::string& kind,
                       const std::string& name,
                       const std::vector<int64_t>& shape,
                       std::span<const std::byte> bytes) {
    const std::string file = kind + ".safetensors";
    kinds[kind].push_back({name, io::Dtype::kF32, shape, bytes});
    manifest.tensors.push_back({name, kind, io::Dtype::kF32, shape, {{file, 0, shape[0]}}});
  };
  recipes::Recipe recipe = recipes::Recipe::parse(manifest.recipe, "recipe");
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
  Decoder shapes(read_hf_config(start), at::kFloat);
  std::vector<Tensor> scales;
  for (const Parameter& p : shapes.parameters()) {
    add("master", p.name, p.shape, bytes_of(p));
    if (const auto quantizer = build_quantizer(plan, p)) {
      scales.push_back(quantizer->encode(at::full(p.shape, 0.5)).scales.contiguous());
      const Tensor& s = scales.back();
      add("buffer",
          quantizer_tensor(p.name, kScalesInUse),
          s.sizes().vec(),
          {static_cast<const std::byte*>(s.const_data_ptr()), s.nbytes()});
    }
  }
  for (auto& [kind, tensors] : kinds) {
    const std::string file = kind + ".safetensors";
    io::write_safetensors(folder / file, std::move(tensors));
    manifest.files[file] = io::sha256_of_file(folder / file);
  }
  write_manifest(folder, manifest);
}

int64_t largest_file(const fs::path& folder) {
  int64_t most = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file())
      most = std::max(most, static_cast<int64_t>(entry.file_size()));
  return most;
}

struct Layout {
  std::string name;
  void (*write)(const fs::path& folder);
};

/// For GoogleTest's messages.
void PrintTo(const Layout& layout, std::ostream* out) {
  *out << layout.name;
}

class LoadingMemory : public testing::TestWithParam<std::tuple<Layout, at::ScalarType>> {};

TEST_P(LoadingMemory, StaysBelowTheModelAndOneShard) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "this kernel does not give back the high-water mark of memory";
  const auto& [layout, dtype] = GetParam();
  const tests::TempFolder folder;
  layout.write(folder.path());
  load_decoder(inspect(folder.path()),
               dtype);  // code that is used for the first time is memory too
  const tests::PeakMemory peak;
  const CheckpointInfo info = inspect(folder.path());
  const Decoder decoder = load_decoder(info, dtype);
  const int64_t size = info.config.parameters() * static_cast<int64_t>(at::elementSize(dtype));
  EXPECT_GT(size, 25 * kMiB);
  // The margin is for what the heap and the kernel's pages hold beside it (7 MiB seen): an fp32
  // copy would be 50 MiB more, shards left mapped 40 MiB.
  EXPECT_LT(peak.bytes(), size + largest_file(folder.path()) + 20 * kMiB);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints,
                         LoadingMemory,
                         testing::Combine(testing::Values(Layout{"hugging_face", write_sharded},
                                                          Layout{"sterna_export", write_export},
                                                          Layout{"run", write_run}),
                                          testing::Values(at::kFloat, at::kBFloat16)),
                         [](const auto& each) {
                           return std::get<0>(each.param).name +
                                  (std::get<1>(each.param) == at::kFloat ? "_fp32" : "_bf16");
                         });

}  // namespace
}  // namespace sterna::model
