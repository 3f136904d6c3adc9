// Files of ours in the safetensors package, and files of that package here.
#include <random>

#include <nlohmann/json.hpp>

#include "tests/io/support.h"
#include "tests/support/peers.h"
#include "trainer/io/json.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"

namespace sterna::io {
namespace {

using nlohmann::json;

constexpr int kDtypesOfTorch = 18;

/// What list_safetensors.py prints of the same file.
json listing(const TensorFile& file) {
  json rows;
  for (const TensorView& view : file.tensors())
    rows[view.name] = {dtype_name(view.dtype), view.shape, sha256_hex(view.bytes)};
  return rows;
}

class SafetensorsPackage : public tests::Peers {
 protected:
  /// Compares what both sides read, and the file with what the package writes of the same tensors.
  void expect_same(const std::vector<std::string>& seed) {
    std::vector<std::string> arguments{path("x.safetensors"), path("list.json"), path("copy")};
    arguments.insert(arguments.end(), seed.begin(), seed.end());
    ASSERT_NO_FATAL_FAILURE(python("scripts/peers/list_safetensors.py", arguments));
    file_ = open_safetensors(folder_ / "x.safetensors");
    EXPECT_EQ(listing(*file_), read_json(folder_ / "list.json"));
  }

  std::unique_ptr<TensorFile> file_;
};

TEST_F(SafetensorsPackage, WritesWhatIsReadHereForEveryDtypeOfTorch) {
  ASSERT_NO_FATAL_FAILURE(expect_same({"20261121"}));
  EXPECT_EQ(file_->tensors().size(), kDtypesOfTorch + 3);
  EXPECT_EQ(file_->metadata().at("quote\"d"), "line\nbreak \\ ü");
}

TEST_F(SafetensorsPackage, ReadsWhatIsWrittenHereAndWouldWriteTheSameBytes) {
  std::mt19937 random(7);
  std::vector<std::vector<std::byte>> values;
  std::vector<TensorToWrite> tensors;
  const auto add = [&](const std::string& name, Dtype dtype, std::vector<int64_t> shape) {
    std::vector<std::byte> bytes(bytes_of(dtype, elements_of(shape)));
    for (std::byte& each : bytes)
      each = static_cast<std::byte>(random() % (dtype == Dtype::kBool ? 2 : 256));
    tensors.push_back({name, dtype, std::move(shape), {}});
    values.push_back(std::move(bytes));
  };
  for (const Dtype dtype : {Dtype::kBool,
                            Dtype::kU8,
                            Dtype::kI8,
                            Dtype::kF8E5M2,
                            Dtype::kF8E4M3,
                            Dtype::kI16,
                            Dtype::kU16,
                            Dtype::kF16,
                            Dtype::kBF16,
                            Dtype::kI32,
                            Dtype::kU32,
                            Dtype::kF32,
                            Dtype::kC64,
                            Dtype::kF64,
                            Dtype::kI64,
                            Dtype::kU64,
                            Dtype::kF8E4M3Fnuz,
                            Dtype::kF8E5M2Fnuz})
    add("layers.0." + std::string(dtype_name(dtype)), dtype, {5, 3});
  add("a scalar \"é\"", Dtype::kF32, {});
  add("empty", Dtype::kBF16, {4, 0, 2});
  add("deep", Dtype::kI8, {1, 2, 1, 3, 1});
  for (size_t i = 0; i < tensors.size(); ++i)
    tensors[i].bytes = values[i];
  write_safetensors(folder_ / "x.safetensors", tensors);
  ASSERT_NO_FATAL_FAILURE(expect_same({}));
  EXPECT_EQ(file_->tensors().size(), tensors.size());
  EXPECT_EQ(tests::read_file(folder_ / "x.safetensors"), tests::read_file(folder_ / "copy"));
}

}  // namespace
}  // namespace sterna::io
