#include "trainer/export/certify.h"

#include <random>

#include <nlohmann/json.hpp>

#include "tests/export/packed_source.h"
#include "trainer/export/tensors.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;
using tests::TempFolder;

class Certified : public ::testing::TestWithParam<std::string> {
 protected:
  Certified() {
    source_ = tests::source_for(GetParam(), folder_ / "hf");
    export_folder(source_, *tests::make_format(GetParam()), out_);
    write_certificate(out_, certify(out_, source_), nullptr);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(out_))
      all.push_back(entry.path());
    std::sort(all.begin(), all.end());
    return all;
  }
  TempFolder folder_;
  fs::path out_ = folder_ / "out";
  ExportSource source_;
};

TEST_P(Certified, AThousandFlippedBitsInAnyFileAreAllFound) {
  std::mt19937_64 random(5);
  const std::vector<fs::path> all = files();
  std::map<fs::path, int> found;
  for (size_t i = 0; i < 1000; ++i) {
    // Files in turn, so that the small ones are hit as often as the weights.
    const fs::path& file = all[i % all.size()];
    const std::string original = tests::read_file(file);
    std::string bytes = original;
    const size_t at = random() % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    tests::write_file(file, bytes);
    std::vector<std::string> mismatches;
    ASSERT_NO_THROW(mismatches = certify(out_, source_).mismatches) << file << " byte " << at;
    EXPECT_FALSE(mismatches.empty()) << file << " byte " << at;
    found[file] += mismatches.empty() ? 0 : 1;
    tests::write_file(file, original);
  }
  EXPECT_EQ(found.size(), all.size());
  EXPECT_EQ(certify(out_, source_).mismatches, std::vector<std::string>{});
}

TEST_P(Certified, FilesAddedRemovedOrEmptiedAreFound) {
  tests::write_file(out_ / "chat_template.jinja", "x");
  EXPECT_HAS(certify(out_, source_).mismatches.at(0), "chat_template.jinja");
  fs::remove(out_ / "chat_template.jinja");
  const std::string name = fs::exists(out_ / "config.json") ? "config.json" : "model.gguf";
  const std::string content = tests::read_file(out_ / name);
  tests::write_file(out_ / name, "");
  EXPECT_HAS(certify(out_, source_).mismatches.at(0), name);
  if (name == "config.json") {  // without the other it is no export at all
    fs::remove(out_ / name);
    EXPECT_FALSE(certify(out_, source_).mismatches.empty());
  }
  tests::write_file(out_ / name, content);
  fs::remove(out_ / "SHA256SUMS");
  EXPECT_HAS(certify(out_, source_).mismatches.at(0), "SHA256SUMS");
}

INSTANTIATE_TEST_SUITE_P(EveryFormat,
                         Certified,
                         ::testing::ValuesIn(formats().names()),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class SternaContent : public ::testing::Test {
 protected:
  SternaContent() {
    tests::make_side_files(folder_ / "hf");
    source_ = tests::toy_source(folder_ / "hf");
    export_folder(source_, *tests::make_format("sterna"), folder_ / "out");
  }
  std::vector<std::string> mismatches() { return certify(folder_ / "out", source_).mismatches; }
  quant::Encoded& codes(const std::string& name) { return source_.weights.encoded.at(name); }
  TempFolder folder_;
  ExportSource source_;
};

// Here the export's checksums hold: only the comparison with the run can tell.
TEST_F(SternaContent, OneOtherCodeScaleZeroLevelOrSchemeIsNamed) {
  at::Tensor code = codes("layers.0.up.weight").codes[2][3];
  code.bitwise_xor_(1);
  EXPECT_HAS(mismatches().at(0), "up.weight: codes differ in 1 of 480 elements, first at [2, 3]");
  code.bitwise_xor_(1);
  ASSERT_TRUE(mismatches().empty());
  codes("layers.0.levels.weight").levels[15] *= 2;
  EXPECT_HAS(mismatches().at(0), "layers.0.levels.weight: levels differ in 1 of 16");
  codes("layers.0.levels.weight").levels[15] /= 2;
  codes("layers.0.asym.weight").scales[5][1] *= 2;
  codes("layers.0.asym.weight").zeros[3][0] += 1;
  codes("layers.0.seq.weight").offset = 0;
  const auto all = mismatches();
  EXPECT_HAS(all.at(0), "asym.weight: scales differ in 1 of 12 elements, first at [5, 1]");
  EXPECT_HAS(all.at(1), "asym.weight: zeros differ in 1 of 12 elements, first at [3, 0]");
  EXPECT_HAS(all.back(), "layers.0.seq.weight: its scheme");
}

TEST_F(SternaContent, EveryTensorIsStoredAsSmallAsItIsExact) {
  const ReadBack back = tests::make_format("sterna")->read(folder_ / "out");
  EXPECT_EQ(back.storage.at("embed_tokens.weight"), "q8_0");
  EXPECT_EQ(back.storage.at("layers.0.exact.weight"), "BF16");
  EXPECT_EQ(back.storage.at("layers.0.odd.weight"), "BF16");
  EXPECT_EQ(back.storage.at("norm.weight"), "F32");
  EXPECT_EQ(back.storage.at("layers.0.up.weight"), "codes");
}

TEST(ExactQ8_0, GivesTheBlocksOfValuesThatComeFromBlocksAndNothingElse) {
  at::manual_seed(3);
  at::Tensor blocks = at::randint(0, 256, {5, 2 * 34}, at::kInt).to(at::kByte);
  // Half-precision scales of ordinary size; the second code of a block is 127, none is -128.
  for (const int64_t start : {0, 34}) {
    blocks.slice(1, start + 1, start + 2).fill_(0x2c);
    blocks.slice(1, start + 2, start + 34)
        .masked_fill_(blocks.slice(1, start + 2, start + 34) == 128, 129);
    blocks.slice(1, start + 3, start + 4).fill_(127);
  }
  blocks[3].slice(0, 0, 34).fill_(0);
  io::TensorView view;
  view.dtype = io::Dtype::kQ8_0;
  view.shape = {5, 64};
  view.bytes = {static_cast<const std::byte*>(blocks.const_data_ptr()), 5 * 68};
  at::Tensor values = at::empty({5, 64});
  io::to_float(view, {values.mutable_data_ptr<float>(), 320});
  const auto found = exact_q8_0(values);
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(at::equal(*found, blocks));
  values[4][63] += 1e-3;
  EXPECT_FALSE(exact_q8_0(values).has_value());
  EXPECT_FALSE(exact_q8_0(at::randn({2, 33})).has_value());
  EXPECT_FALSE(exact_q8_0(at::full({1, 32}, -0.0)).has_value());
}

}  // namespace
}  // namespace sterna::exporter
