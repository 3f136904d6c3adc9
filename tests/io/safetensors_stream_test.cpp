#include "trainer/io/safetensors_stream.h"

#include <gtest/gtest.h>

#include "tests/io/support.h"
#include "tests/support/memory.h"
#include "tests/support/small_disk.h"

namespace sterna::io {
namespace {

namespace fs = std::filesystem;

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(SafetensorsStream, WritesTheBytesOfWriteSafetensorsInWhateverOrderTensorsCome) {
  const tests::TempFolder folder;
  std::vector<std::byte> bytes(64);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i);
  const std::span<const std::byte> all(bytes);
  const std::vector<TensorToWrite> tensors = {{"small", Dtype::kU8, {3}, all.subspan(5, 3)},
                                              {"large", Dtype::kF32, {2, 3}, all.first(24)},
                                              {"empty", Dtype::kF32, {0, 3}, {}},
                                              {"half", Dtype::kBF16, {7}, all.subspan(30, 14)}};
  write_safetensors(folder / "at once", tensors, {{"format", "pt"}, {"a", "b"}});
  SafetensorsStream stream(folder / "one by one");
  for (const TensorToWrite& tensor : tensors) {
    std::vector<std::byte> own(tensor.bytes.begin(), tensor.bytes.end());
    stream.add({tensor.name, tensor.dtype, tensor.shape, own});
    std::fill(own.begin(), own.end(), std::byte{0});  // nobody may look at them any more
  }
  EXPECT_EQ(stream.bytes(), 41u);
  EXPECT_FALSE(fs::exists(folder / "one by one"));
  stream.finish({{"format", "pt"}, {"a", "b"}});
  EXPECT_EQ(tests::read_file(folder / "one by one"), tests::read_file(folder / "at once"));
  EXPECT_EQ(entries(folder.path()), 2u);
}

TEST(SafetensorsStream, WithoutATensorIsAnEmptyFile) {
  const tests::TempFolder folder;
  write_safetensors(folder / "at once", {});
  SafetensorsStream(folder / "one by one").finish();
  EXPECT_EQ(tests::read_file(folder / "one by one"), tests::read_file(folder / "at once"));
}

TEST(SafetensorsStream, RefusesWhatWriteSafetensorsRefusesAndLeavesNothing) {
  const tests::TempFolder folder;
  const std::vector<std::byte> bytes(8);
  EXPECT_HAS(tests::message_of<FileError>([&] {
               SafetensorsStream stream(folder / "twice");
               stream.add({"w", Dtype::kF32, {2}, bytes});
               stream.add({"w", Dtype::kF32, {2}, bytes});
               stream.finish();
             }),
             "tensor 'w' is given twice");
  EXPECT_HAS(tests::message_of<FileError>([&] {
               SafetensorsStream stream(folder / "shape");
               stream.add({"w", Dtype::kF32, {3}, bytes});
               stream.finish();
             }),
             "not what its shape needs");
  { SafetensorsStream(folder / "given up").add({"w", Dtype::kF32, {2}, bytes}); }
  EXPECT_EQ(entries(folder.path()), 0u);
}

TEST(SafetensorsStream, HoldsNothingInMemory) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "this kernel does not give back the high-water mark of memory";
  const tests::TempFolder folder;
  constexpr int64_t kMiB = int64_t{1} << 20;
  const std::vector<std::byte> bytes(8 * kMiB, std::byte{1});
  const tests::PeakMemory peak;
  SafetensorsStream stream(folder / "file");
  for (int i = 0; i < 12; ++i)
    stream.add({std::to_string(i), Dtype::kU8, {8 * kMiB}, bytes});
  stream.finish();
  EXPECT_LT(peak.bytes(), 24 * kMiB) << "of 96 MiB that were written";
}

}  // namespace
}  // namespace sterna::io
