#include "trainer/io/gguf.h"

#include <bit>
#include <cstdlib>
#include <functional>

#include "tests/io/gguf_builder.h"

namespace sterna::io {
namespace {

using tests::gguf_string;
using tests::GgufBuilder;
using tests::message_of;
using tests::raw;
using tests::TempFolder;

std::string half(float value) {
  return raw(std::bit_cast<uint16_t>(static_cast<_Float16>(value)));
}

std::vector<float> floats(const TensorView& view) {
  std::vector<float> out(view.elements());
  to_float(view, out);
  return out;
}

std::string gguf_error(const std::string& bytes) {
  const TempFolder folder;
  tests::write_file(folder / "x.gguf", bytes);
  return message_of<FileError>([&] { open_gguf(folder / "x.gguf"); });
}

std::string gguf_error(const std::function<void(GgufBuilder&)>& change) {
  GgufBuilder builder;
  change(builder);
  return gguf_error(builder.build());
}

TEST(Gguf, MetadataOfEveryTypeIsRead) {
  GgufBuilder builder;
  builder.pair("u8", 0, raw(uint8_t{200}));
  builder.pair("i8", 1, raw(int8_t{-3}));
  builder.pair("u16", 2, raw(uint16_t{65535}));
  builder.pair("i16", 3, raw(int16_t{-3}));
  builder.pair("u32", 4, raw(uint32_t{4000000000}));
  builder.pair("i32", 5, raw(int32_t{-5}));
  builder.pair("f32", 6, raw(0.5F));
  builder.pair("bool", 7, raw(uint8_t{1}));
  builder.text("text", "h\xc3\xa9");
  builder.pair("u64", 10, raw(uint64_t{1} << 40));
  builder.pair("i64", 11, raw(-(int64_t{1} << 40)));
  builder.pair("f64", 12, raw(0.1));
  builder.pair(
      "texts", 9, raw(uint32_t{8}) + raw(uint64_t{2}) + gguf_string("a") + gguf_string(""));
  builder.pair("numbers", 9, raw(uint32_t{6}) + raw(uint64_t{1}) + raw(2.F));
  builder.pair(
      "integers", 9, raw(uint32_t{5}) + raw(uint64_t{2}) + raw(int32_t{-1}) + raw(int32_t{9}));
  builder.pair("flags", 9, raw(uint32_t{7}) + raw(uint64_t{2}) + std::string("\0\1", 2));
  const TempFolder folder;
  tests::write_file(folder / "x.gguf", builder.build());
  const auto file = open_gguf(folder / "x.gguf");
  EXPECT_EQ(file->integer("u8"), 200);
  EXPECT_EQ(file->integer("i8"), -3);
  EXPECT_EQ(file->integer("u16"), 65535);
  EXPECT_EQ(file->integer("i16"), -3);
  EXPECT_EQ(file->integer("u32"), 4000000000);
  EXPECT_EQ(file->integer("i32"), -5);
  EXPECT_EQ(file->number("f32"), 0.5);
  EXPECT_TRUE(file->boolean("bool"));
  EXPECT_EQ(file->text("text"), "h\xc3\xa9");
  EXPECT_EQ(file->integer("u64"), int64_t{1} << 40);
  EXPECT_EQ(file->integer("i64"), -(int64_t{1} << 40));
  EXPECT_EQ(file->number("f64"), 0.1);
  EXPECT_EQ(file->number("i8"), -3);
  EXPECT_EQ(file->texts("texts"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(file->integers("integers"), (std::vector<int64_t>{-1, 9}));
  EXPECT_EQ(std::get<std::vector<double>>(file->values().at("numbers")), std::vector<double>{2});
  EXPECT_EQ(std::get<std::vector<bool>>(file->values().at("flags")),
            (std::vector<bool>{false, true}));
  EXPECT_HAS(message_of<FileError>([&] { file->text("u8"); }), "is an integer where a string");
  EXPECT_HAS(message_of<FileError>([&] { file->integer("nothing"); }), "lacks the metadata key");
}

TEST(Gguf, TensorsComeInTorchOrderAndAreDequantisedAsGgmlDefines) {
  GgufBuilder builder;
  builder.tensor("f32", {2, 3}, 0, std::string(24, '\0'));
  builder.tensor("f16", {2}, 1, half(1.5F) + half(-65504.F));
  builder.tensor("bf16", {1}, 30, raw(uint16_t{0x3fc0}));
  std::string codes;
  for (int j = 0; j < 16; ++j)
    codes += static_cast<char>(j | (15 - j) << 4);
  builder.tensor("q4_0", {32}, 2, half(0.5F) + codes);
  builder.tensor("q4_1", {32, 1}, 3, half(0.3F) + half(-1.7F) + codes);
  std::string bytes;
  for (int j = 0; j < 32; ++j)
    bytes += static_cast<char>(j * 8 - 128);
  builder.tensor("q8_0", {32}, 8, half(0.1F) + bytes);
  const TempFolder folder;
  tests::write_file(folder / "x.gguf", builder.build());
  const auto file = open_gguf(folder / "x.gguf");
  EXPECT_EQ(file->at("f32").shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(floats(file->at("f16")), (std::vector<float>{1.5F, -65504.F}));
  EXPECT_EQ(floats(file->at("bf16")), (std::vector<float>{1.5F}));
  const auto q4_0 = floats(file->at("q4_0"));
  EXPECT_EQ(q4_0[0], -4.F);   // low nibble 0: (0 - 8) / 2
  EXPECT_EQ(q4_0[15], 3.5F);  // low nibble 15
  EXPECT_EQ(q4_0[16], 3.5F);  // high nibble of byte 0
  EXPECT_EQ(q4_0[31], -4.F);
  const auto q4_1 = floats(file->at("q4_1"));
  const float d = static_cast<float>(static_cast<_Float16>(0.3F));
  const float m = static_cast<float>(static_cast<_Float16>(-1.7F));
  for (int j = 0; j < 16; ++j) {
    const float product = static_cast<float>(j) * d;
    EXPECT_EQ(q4_1[static_cast<size_t>(j)], product + m);
    EXPECT_EQ(q4_1[static_cast<size_t>(31 - j)], product + m);
  }
  const auto q8_0 = floats(file->at("q8_0"));
  const float scale = static_cast<float>(static_cast<_Float16>(0.1F));
  for (int j = 0; j < 32; ++j)
    EXPECT_EQ(q8_0[static_cast<size_t>(j)], static_cast<float>(j * 8 - 128) * scale);
}

TEST(Gguf, TheContainersOwnFieldsAreChecked) {
  EXPECT_HAS(gguf_error("GGUX" + std::string(40, '\0')), "does not begin with 'GGUF'");
  EXPECT_HAS(gguf_error("GGU"), "ends inside the magic word");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.version = 1; }), "version 1");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.version = 0x03000000; }), "version 50331648");
  EXPECT_HAS(gguf_error("GGUF" + raw(uint32_t{3}) + raw(uint64_t{1} << 60) + raw(uint64_t{0})),
             "number of tensors is 1152921504606846976");
  EXPECT_HAS(gguf_error("GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(uint64_t{1} << 60)),
             "number of metadata pairs");
  GgufBuilder cut;
  cut.tensor("a", {8}, 0, std::string(32, '\1'));
  std::string bytes = cut.build();
  bytes.pop_back();
  EXPECT_HAS(gguf_error(bytes), "beyond the end of the file");
}

TEST(Gguf, MetadataDamageIsNamed) {
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.text("", "x"); }), "key is empty");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) {
               b.text("k", "x");
               b.pair("k", 0, raw(uint8_t{1}));
             }),
             "'k' comes twice");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.pair("k", 13, raw(uint64_t{1})); }),
             "value type 13");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.pair("k", 7, raw(uint8_t{2})); }),
             "neither 0 nor 1");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.pair("k", 10, raw(~uint64_t{0})); }),
             "beyond 63 bits");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.pair("k", 8, raw(~uint64_t{0})); }),
             "more than is left");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) {
               b.pair("k", 9, raw(uint32_t{9}) + raw(uint64_t{0}) + raw(uint64_t{0}));
             }),
             "array of arrays");
  EXPECT_HAS(
      gguf_error([](GgufBuilder& b) { b.pair("k", 9, raw(uint32_t{8}) + raw(uint64_t{1} << 61)); }),
      "an array's length");
  for (const uint32_t size : {0U, 3U, 48U})
    EXPECT_HAS(gguf_error([&](GgufBuilder& b) { b.pair("general.alignment", 4, raw(size)); }),
               "power of two");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.pair("general.alignment", 10, raw(uint64_t{32})); }),
             "power of two");
  EXPECT_HAS(gguf_error([](GgufBuilder& b) { b.pair("split.count", 2, raw(uint16_t{2})); }),
             "--merge");
}

TEST(Gguf, TensorDamageIsNamed) {
  const std::string bytes(32, '\1');
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) { b.tensor(std::string(64, 'n'), {8}, 0, bytes); }),
             "63 are");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) {
               b.tensor("a", {8}, 0, bytes);
               b.tensor("a", {8}, 0, bytes);
             }),
             "'a' comes twice");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) {
               b.tensor("a", {1, 1, 1, 1, 8}, 0, bytes);
             }),
             "5 dimens");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) { b.tensor("a", {-8}, 0, bytes); }), "'a'");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) {
               b.tensor("a", {1LL << 40, 1LL << 40}, 0, bytes);
             }),
             "64 bits");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) {
               b.tensor("a", {16, 2}, 8, std::string(34, '\1'));
             }),
             "no whole number");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) { b.tensor("a", {8}, 99, bytes); }), "unknown type 99");
  EXPECT_HAS(
      gguf_error([&](GgufBuilder& b) { b.tensor("blk.0.x", {32}, 39, std::string(17, '\1')); }),
      "'blk.0.x' is stored as MXFP4");
  EXPECT_HAS(gguf_error([&](GgufBuilder& b) {
               b.tensor("a", {8}, 0, bytes);
               b.data += bytes;
               b.tensor("b", {8}, 0, bytes);
             }),
             "offset 64 where 32 follows");
}

TEST(Gguf, AnotherAlignmentMovesTheData) {
  GgufBuilder builder;
  builder.alignment = 128;
  builder.pair("general.alignment", 4, raw(uint32_t{128}));
  builder.tensor("a", {1}, 0, raw(1.F));
  builder.tensor("b", {1}, 0, raw(2.F));
  const TempFolder folder;
  tests::write_file(folder / "x.gguf", builder.build());
  const auto file = open_gguf(folder / "x.gguf");
  EXPECT_EQ(floats(file->at("b")), (std::vector<float>{2.F}));
  EXPECT_TRUE(is_gguf(folder / "x.gguf"));
  EXPECT_FALSE(is_gguf(folder.path()));
}

TEST(Gguf, SmolLm2OpensWithItsPublishedTensorTypes) {
  const char* cache = std::getenv("STERNA_CACHE");
  const char* home = std::getenv("HOME");
  const std::filesystem::path root =
      cache != nullptr ? std::filesystem::path(cache)
                       : std::filesystem::path(home == nullptr ? "." : home) / ".cache/sterna";
  const auto path = root / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "not installed: " << path;
  const auto file = open_gguf(path);
  std::map<Dtype, int> types;
  uint64_t parameters = 0;
  for (const TensorView& view : file->tensors()) {
    ++types[view.dtype];
    parameters += view.elements();
  }
  EXPECT_EQ(file->tensors().size(), 272U);
  EXPECT_EQ(types,
            (std::map<Dtype, int>{{Dtype::kQ4_1, 210}, {Dtype::kF32, 61}, {Dtype::kQ8_0, 1}}));
  EXPECT_EQ(parameters, 134'515'008U);
  EXPECT_EQ(file->at("token_embd.weight").shape, (std::vector<int64_t>{49152, 576}));
  EXPECT_EQ(file->integer("llama.block_count"), 30);
}

}  // namespace
}  // namespace sterna::io
