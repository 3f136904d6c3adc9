#include "trainer/io/safetensors.h"

#include <functional>

#include "tests/io/support.h"

namespace sterna::io {
namespace {

using tests::message_of;
using tests::raw;
using tests::TempFolder;

std::string file_of(const std::string& header, const std::string& data) {
  return raw(static_cast<uint64_t>(header.size())) + header + data;
}

std::string safetensors_error(const std::string& bytes) {
  const TempFolder folder;
  tests::write_file(folder / "x.safetensors", bytes);
  return message_of<FileError>([&] { open_safetensors(folder / "x.safetensors"); });
}

std::string entry(const std::string& name, const std::string& offsets, const std::string& shape) {
  return "\"" + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}";
}

TEST(Safetensors, ReadsWhatItWroteInTheReferenceOrderWithAlignedData) {
  const TempFolder folder;
  const std::vector<float> f = {1.5F, -2.F, 0.F};
  const std::vector<uint8_t> u = {1, 2, 3};
  const std::vector<int64_t> i = {-7};
  write_safetensors(folder / "x.safetensors",
                    {{"b", Dtype::kU8, {3}, std::as_bytes(std::span(u))},
                     {"z", Dtype::kF32, {3, 1}, std::as_bytes(std::span(f))},
                     {"a", Dtype::kF32, {0, 4}, {}},
                     {"scalar", Dtype::kI64, {}, std::as_bytes(std::span(i))}});
  const std::string bytes = tests::read_file(folder / "x.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0U);
  EXPECT_EQ(bytes.substr(8, 33), R"({"__metadata__":{"format":"pt"},")");

  const auto file = open_safetensors(folder.path() / "x.safetensors");
  std::vector<std::string> order;
  for (const TensorView& view : file->tensors())
    order.push_back(view.name);
  EXPECT_EQ(order, (std::vector<std::string>{"scalar", "a", "z", "b"}));
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->at("z").shape, (std::vector<int64_t>{3, 1}));
  std::vector<float> read(3);
  to_float(file->at("z"), read);
  EXPECT_EQ(read, f);
  EXPECT_EQ(file->at("scalar").elements(), 1U);
  EXPECT_EQ(file->at("a").elements(), 0U);
  EXPECT_EQ(file->find("absent"), nullptr);
  EXPECT_HAS(message_of<FileError>([&] { file->at("scalr"); }),
             "holds no tensor 'scalr'; did you mean 'scalar'?");
}

TEST(Safetensors, WriterRefusesATensorGivenTwiceOrOfTheWrongSizeAndLeavesNoFile) {
  const TempFolder folder;
  const std::vector<float> f = {1, 2};
  const auto bytes = std::as_bytes(std::span(f));
  const auto path = folder / "x.safetensors";
  EXPECT_HAS(
      message_of<FileError>([&] {
        write_safetensors(path, {{"a", Dtype::kF32, {2}, bytes}, {"a", Dtype::kI64, {1}, bytes}});
      }),
      "given twice");
  EXPECT_HAS(message_of<FileError>([&] {
               write_safetensors(path, {{"a", Dtype::kF32, {3}, bytes}});
             }),
             "8 bytes");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, EveryCheckOfTheFormatRefusesItsOwnDamage) {
  const std::string eight(8, '\0');
  EXPECT_HAS(safetensors_error("abc"), "shorter than the 8 bytes");
  EXPECT_HAS(safetensors_error(raw(uint64_t{100'000'001}) + "{}"), "100 MB");
  EXPECT_HAS(safetensors_error(raw(uint64_t{3}) + "{}"), "beyond the file's end");
  EXPECT_HAS(safetensors_error(raw(~uint64_t{0}) + "{}"), "100 MB");
  EXPECT_HAS(safetensors_error(file_of("", "")), "start with '{'");
  EXPECT_HAS(safetensors_error(file_of(" {}", "")), "start with '{'");
  EXPECT_HAS(safetensors_error(file_of("{\"a\":}", "")), "at byte 14");
  EXPECT_HAS(safetensors_error(file_of("{\"\xff\":1}", "")), "no valid JSON");
  const std::string one = entry("a", "[0,8]", "[2]");
  EXPECT_HAS(safetensors_error(file_of("{" + one + "," + one + "}", eight)), "key 'a' twice");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[0,4]", "[1]") + "}", eight)),
             "follow the last");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[4,8]", "[1]") + "}", eight)),
             "hole or overlap");
  EXPECT_HAS(safetensors_error(file_of("{" + one + "," + entry("b", "[4,8]", "[1]") + "}", eight)),
             "hole or");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[0,8]", "[3]") + "}", eight)),
             "needs 12 bytes");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[0,9]", "[2]") + "}", eight)),
             "outside the 8");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[8,0]", "[2]") + "}", eight)),
             "outside the 8");
  EXPECT_HAS(
      safetensors_error(file_of("{" + entry("a", "[0,8]", "[4294967296,4294967296]") + "}", eight)),
      "does not fit 64 bits");
  EXPECT_HAS(
      safetensors_error(file_of("{" + entry("a", "[0,8]", "[4611686018427387904]") + "}", eight)),
      "'a'");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[0,8]", "[-2]") + "}", eight)),
             "natural number");
  EXPECT_HAS(safetensors_error(file_of("{" + entry("a", "[0,8.0]", "[2]") + "}", eight)),
             "natural number");
  EXPECT_HAS(safetensors_error(
                 file_of(R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", eight)),
             "unknown dtype 'F31'");
  EXPECT_HAS(safetensors_error(file_of(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", eight)),
             "lacks a proper");
  EXPECT_HAS(safetensors_error(file_of(R"({"__metadata__":{"format":1}})", "")), "is no string");
  EXPECT_HAS(safetensors_error(file_of(std::string("{\"a\":") + std::string(5000, '['), "")),
             "deeper than");
}

TEST(Safetensors, AcceptsUnsortedUnalignedTensorsAndTrailingSpaces) {
  const TempFolder folder;
  const std::string header = "{" + entry("late", "[1,5]", "[1]") +
                             R"(,"early":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   )";
  tests::write_file(folder / "x.safetensors", file_of(header, "\x07" + raw(2.5F)));
  const auto file = open_safetensors(folder / "x.safetensors");
  float value = 0;
  to_float(file->at("late"), {&value, 1});
  EXPECT_EQ(value, 2.5F);
  EXPECT_EQ(file->tensors()[0].name, "early");
}

class Sharded : public ::testing::Test {
 protected:
  Sharded() {
    shard("one.safetensors", "a", 1);
    shard("two.safetensors", "b", 2);
  }
  void shard(const std::string& file, const std::string& name, float value) {
    write_safetensors(folder_ / file,
                      {{name, Dtype::kF32, {1}, std::as_bytes(std::span(&value, 1))}});
  }
  void index(const std::string& map) {
    tests::write_file(folder_ / "model.safetensors.index.json", R"({"weight_map":)" + map + "}");
  }
  std::string error() {
    return message_of<FileError>([&] { open_safetensors(folder_.path()); });
  }
  TempFolder folder_;
};

TEST_F(Sharded, TensorsOfAllShardsAreFoundThroughTheFolder) {
  index(R"({"b":"two.safetensors","a":"one.safetensors"})");
  const auto file = open_safetensors(folder_.path());
  ASSERT_EQ(file->tensors().size(), 2U);
  float value = 0;
  to_float(file->at("b"), {&value, 1});
  EXPECT_EQ(value, 2);
}

TEST_F(Sharded, AnIndexThatDisagreesWithItsShardsIsRefused) {
  index(R"({"a":"one.safetensors"})");
  EXPECT_EQ(open_safetensors(folder_.path())->tensors().size(), 1U);
  index(R"({"a":"one.safetensors","c":"two.safetensors"})");
  EXPECT_HAS(error(), "holds tensor 'b'");
  index(R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})");
  EXPECT_HAS(error(), "lacks tensor 'c'");
  index(R"({"a":"../one.safetensors"})");
  EXPECT_HAS(error(), "no plain file name");
  index(R"({"a":"three.safetensors"})");
  EXPECT_HAS(error(), "cannot be opened");
}

TEST(Safetensors, AFolderWithoutWeightsIsNamed) {
  const TempFolder folder;
  EXPECT_HAS(message_of<FileError>([&] { open_safetensors(folder.path()); }), "holds neither");
}

}  // namespace
}  // namespace sterna::io
