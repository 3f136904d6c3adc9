// Blocks of GGUF files: as the gguf package de-quantizes them, and written so that they come back.
#include <cstring>
#include <random>

#include "tests/io/gguf_builder.h"
#include "tests/support/paths.h"
#include "trainer/io/ggml_block.h"
#include "trainer/io/gguf.h"
#include "trainer/io/gguf_write.h"
#include "trainer/io/safetensors.h"

namespace sterna::io {
namespace {

using tests::GgufBuilder;
using tests::message_of;
using tests::raw;
using tests::TempFolder;

constexpr Dtype kWritten[] = {Dtype::kQ4_0,
                              Dtype::kQ5_0,
                              Dtype::kQ8_0,
                              Dtype::kQ2_0,
                              Dtype::kTQ1_0,
                              Dtype::kTQ2_0,
                              Dtype::kQ2_K,
                              Dtype::kQ4_K};

std::vector<float> values_of(const TensorView& view) {
  std::vector<float> out(view.elements());
  to_float(view, out);
  return out;
}

/// scripts/golden/make_gguf_blocks.py: one block of random bits of each type.
TEST(GgufBlocks, OfEveryTypeHaveTheValuesThatTheGgufPackageGives) {
  const auto folder = tests::source_dir() / "tests/golden";
  const auto file = open_gguf(folder / "gguf_blocks.gguf");
  const auto wanted = open_safetensors(folder / "gguf_blocks.safetensors");
  ASSERT_EQ(file->tensors().size(), 12U);
  for (const TensorView& view : file->tensors()) {
    EXPECT_EQ(dtype_name(view.dtype), view.name);
    const std::vector<float> found = values_of(view);
    const auto& bytes = wanted->at(view.name).bytes;
    ASSERT_EQ(found.size() * sizeof(float), bytes.size()) << view.name;
    EXPECT_EQ(std::memcmp(found.data(), bytes.data(), bytes.size()), 0) << view.name;
  }
}

TEST(GgufBlocks, UnpackedAndPackedAgainAreTheSameBytes) {
  const auto file = open_gguf(tests::source_dir() / "tests/golden/gguf_blocks.gguf");
  int seen = 0;
  for (const Dtype dtype : kWritten) {
    // Random bytes are no sums of digits as TQ1_0's packer makes them.
    if (dtype == Dtype::kQ2_0 || dtype == Dtype::kTQ1_0)
      continue;
    const TensorView& view = file->at(dtype_name(dtype));
    const uint64_t size = bytes_of(dtype, block_elements(dtype));
    GgmlBlock block;
    unpack_block(dtype, view.bytes.data(), block);
    std::vector<std::byte> again(size);
    pack_block(dtype, block, again.data());
    EXPECT_EQ(std::memcmp(again.data(), view.bytes.data(), size), 0) << view.name;
    ++seen;
  }
  EXPECT_EQ(seen, 6);
}

TEST(GgufBlocks, OfAnyCodesComeBack) {
  std::mt19937 random(3);
  for (const Dtype dtype : kWritten) {
    const auto [least, most] = code_range(dtype);
    const uint64_t elements = block_elements(dtype);
    for (int round = 0; round < 20; ++round) {
      GgmlBlock block;
      block.scale[0] = 1;
      for (uint64_t i = 0; i < elements; ++i)
        block.q[i] = static_cast<int8_t>(
            least + static_cast<int>(random() % static_cast<unsigned>(most - least + 1)));
      block.d = -0.375F * static_cast<float>(round);
      std::vector<std::byte> bytes(bytes_of(dtype, elements));
      pack_block(dtype, block, bytes.data());
      GgmlBlock again;
      unpack_block(dtype, bytes.data(), again);
      EXPECT_EQ(again.q, block.q) << dtype_name(dtype);
      EXPECT_EQ(again.d, block.d) << dtype_name(dtype);
    }
  }
}

TEST(GgufBlocks, OfQ2_0HoldFourLevelsInTheOrderOfTheirBytes) {
  std::string codes(16, '\0');
  codes[0] = static_cast<char>(0xE4);  // 0, 1, 2, 3 from the lowest bits
  codes[15] = static_cast<char>(0x40);
  GgufBuilder builder;
  builder.tensor("q", {64}, 42, raw(static_cast<_Float16>(0.5F)) + codes);
  const TempFolder folder;
  tests::write_file(folder / "x.gguf", builder.build());
  const std::vector<float> found = values_of(open_gguf(folder / "x.gguf")->at("q"));
  EXPECT_EQ(std::vector<float>(found.begin(), found.begin() + 4),
            (std::vector<float>{-0.5F, 0.F, 0.5F, 1.F}));
  EXPECT_EQ(found[62], -0.5F);
  EXPECT_EQ(found[63], 0.F);
}

TEST(GgufBlocks, OfQ2_0WithTwiceTheElementsAreKnownByTheirSize) {
  for (const bool last : {false, true}) {
    GgufBuilder builder;
    builder.tensor("q",
                   {256, 8},
                   42,
                   raw(static_cast<_Float16>(2.F)) + std::string(32, '\xFF') +
                       raw(static_cast<_Float16>(1.F)) + std::string(32, '\xFF') +
                       std::string(476, '\0'));
    if (!last)
      builder.tensor("f", {1}, 0, raw(1.F));
    const TempFolder folder;
    tests::write_file(folder / "x.gguf", builder.build());
    const auto file = open_gguf(folder / "x.gguf");
    EXPECT_EQ(file->at("q").dtype, Dtype::kQ2_0Of128);
    const std::vector<float> found = values_of(file->at("q"));
    EXPECT_EQ(found[127], 4.F);
    EXPECT_EQ(found[128], 2.F);
    EXPECT_EQ(found[2047], -0.F);
  }
}

TEST(GgufWriting, GivesAFileThatReadsAsWhatWasWritten) {
  const TempFolder folder;
  GgufStream out(folder / "x.gguf");
  const std::vector<float> values{1, -2, 3};
  out.text("general.architecture", "llama");
  out.u32("id", 4000000000);
  out.f32("eps", 1e-5F);
  out.boolean("yes", true);
  out.texts("words", {"a", "", "h\xc3\xa9"});
  out.i32s("types", {1, -6});
  out.f32s("scores", {0.5F, -1.F});
  out.add("vector", Dtype::kF32, {3}, std::as_bytes(std::span(values)));
  out.add("matrix", Dtype::kF32, {3, 1}, std::as_bytes(std::span(values)));
  EXPECT_FALSE(std::filesystem::exists(folder / "x.gguf"));
  out.finish();
  const auto file = open_gguf(folder / "x.gguf");
  EXPECT_EQ(file->text("general.architecture"), "llama");
  EXPECT_EQ(file->integer("id"), 4000000000);
  EXPECT_EQ(file->number("eps"), static_cast<double>(1e-5F));
  EXPECT_TRUE(file->boolean("yes"));
  EXPECT_EQ(file->texts("words"), (std::vector<std::string>{"a", "", "h\xc3\xa9"}));
  EXPECT_EQ(file->integers("types"), (std::vector<int64_t>{1, -6}));
  EXPECT_EQ(values_of(file->at("vector")), values);
  EXPECT_EQ(file->at("matrix").shape, (std::vector<int64_t>{3, 1}));
  EXPECT_FALSE(std::filesystem::exists(folder / "x.gguf.waiting"));
}

TEST(GgufWriting, RefusesWhatNoReaderTakes) {
  const TempFolder folder;
  GgufStream out(folder / "x.gguf");
  const std::vector<float> values(64);
  const auto bytes = std::as_bytes(std::span(values));
  out.u32("k", 1);
  out.add("a", Dtype::kF32, {64}, bytes);
  EXPECT_HAS(message_of<FileError>([&] { out.f32("k", 1); }), "'k' is empty or comes twice");
  EXPECT_HAS(message_of<FileError>([&] { out.add("a", Dtype::kF32, {64}, bytes); }), "comes twice");
  EXPECT_HAS(message_of<FileError>([&] { out.add("b", Dtype::kF32, {63}, bytes); }), "256 bytes");
  EXPECT_HAS(
      message_of<FileError>([&] { out.add(std::string(64, 'n'), Dtype::kF32, {64}, bytes); }),
      "name or shape");
  EXPECT_HAS(message_of<FileError>([&] {
               out.add("c", Dtype::kQ4_0, {2, 16}, bytes.first(18));
             }),
             "not what its shape needs");
}

}  // namespace
}  // namespace sterna::io
