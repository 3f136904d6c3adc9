// One bit turned in the bytes that a check protects is never accepted in silence. (Names, metadata
// and values are protected by nothing in these formats.)
#include <algorithm>

#include "tests/io/gguf_builder.h"
#include "trainer/io/gguf.h"
#include "trainer/io/safetensors.h"

namespace sterna::io {
namespace {

namespace fs = std::filesystem;

struct Layout {
  Dtype dtype;
  std::vector<int64_t> shape;
  std::ptrdiff_t offset;  // from the first tensor
  size_t size;

  bool operator==(const Layout&) const = default;
};

std::vector<Layout> layout_of(const TensorFile& file) {
  std::vector<Layout> all;
  for (const TensorView& view : file.tensors())
    all.push_back({view.dtype,
                   view.shape,
                   view.bytes.data() - file.tensors().front().bytes.data(),
                   view.bytes.size()});
  return all;
}

std::string with_bit(std::string bytes, size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  return bytes;
}

class Damage : public testing::Test {
 protected:
  /// What is said of these bytes; empty where they are accepted.
  template <class Open>
  std::string refusal(const std::string& bytes, const Open& open) const {
    tests::write_file(folder_ / "x", bytes);
    try {
      open(folder_ / "x");
      return "";
    } catch (const FileError& error) {
      return error.what();
    }
  }

  tests::TempFolder folder_;
};

TEST_F(Damage, OfASafetensorsHeaderIsRefusedOrLeavesEveryTensorWhereAndWhatItIs) {
  const std::string data(600, '\x3f');
  const auto bytes = std::as_bytes(std::span(data));
  write_safetensors(folder_ / "sound",
                    {{"a", Dtype::kF32, {10, 10}, bytes.first(400)},
                     {"b", Dtype::kBF16, {4, 5, 5}, bytes.first(200)},
                     {"c", Dtype::kU8, {7}, bytes.first(7)},
                     {"d", Dtype::kI64, {3}, bytes.first(24)}},
                    {});
  const std::string sound = tests::read_file(folder_ / "sound");
  const std::vector<Layout> layout = layout_of(*open_safetensors(folder_ / "sound"));
  const size_t header_end = sound.size() - 631;
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * header_end; ++bit) {
    std::vector<Layout> found;
    const std::string why = refusal(with_bit(sound, bit), [&](const fs::path& path) {
      found = layout_of(*open_safetensors(path));
    });
    EXPECT_TRUE(why.empty() ? found == layout && bit >= 64 : true)
        << "bit " << bit % 8 << " of byte " << bit / 8;
    refused += why.empty() ? 0 : 1;
  }
  EXPECT_GT(refused, 7 * header_end);
}

TEST_F(Damage, OfAGgufsMagicVersionCountsAndOffsetsIsRefused) {
  tests::GgufBuilder builder;
  builder.pair("general.alignment", 4, tests::raw(uint32_t{32}));
  builder.tensor("a", {32, 4}, 8, std::string(4 * 34, '\x11'));
  builder.tensor("b", {64, 2}, 3, std::string(4 * 20, '\x12'));
  builder.tensor("c", {5}, 0, std::string(20, '\x14'));
  const std::string sound = builder.build();
  const auto open = [](const fs::path& path) { open_gguf(path); };
  ASSERT_EQ(refusal(sound, open), "");
  constexpr size_t kCounts = 8 * 24;         // magic, version, two counts
  constexpr size_t kVersionTwo = 8 * 4 + 0;  // is read too
  for (size_t bit = 0; bit < kCounts; ++bit) {
    // Fewer tensors than there are: the container says nothing, a model misses them.
    const bool fewer = bit == 8 * 8 || bit == 8 * 8 + 1;
    EXPECT_EQ(refusal(with_bit(sound, bit), open).empty(), bit == kVersionTwo || fewer)
        << "bit " << bit % 8 << " of byte " << bit / 8;
  }
  for (const std::string& info : builder.infos) {
    const size_t end = sound.find(info) + info.size();
    for (size_t bit = 8 * (end - 8); bit < 8 * end; ++bit)
      EXPECT_HAS(refusal(with_bit(sound, bit), open), "has offset ");
  }
  const size_t alignment = sound.find("general.alignment") + 17 + 4;
  for (size_t bit = 8 * alignment; bit < 8 * (alignment + 4); ++bit)
    EXPECT_HAS(refusal(with_bit(sound, bit), open), "general.alignment is no u32 power of two");
}

TEST_F(Damage, AnIncompleteFileIsRefusedWhereverItEnds) {
  const std::string data(40, '\x3f');
  const auto bytes = std::as_bytes(std::span(data));
  write_safetensors(folder_ / "sound", {{"a", Dtype::kF32, {10}, bytes}});
  tests::GgufBuilder builder;
  builder.text("general.architecture", "llama");
  builder.tensor("a", {8}, 0, std::string(32, '\x14'));
  const std::string safetensors = tests::read_file(folder_ / "sound");
  const std::string gguf = builder.build();
  for (size_t size = 0; size < safetensors.size(); ++size)
    EXPECT_NE(refusal(safetensors.substr(0, size), [](const fs::path& p) { open_safetensors(p); }),
              "")
        << size;
  for (size_t size = 0; size < gguf.size(); ++size)
    EXPECT_NE(refusal(gguf.substr(0, size), [](const fs::path& p) { open_gguf(p); }), "") << size;
}

}  // namespace
}  // namespace sterna::io
