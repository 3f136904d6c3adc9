// What every export format that holds any scheme promises; the others: format_matrix_test.cpp.
#include <nlohmann/json.hpp>

#include "tests/export/packed_source.h"
#include "trainer/export/certify.h"
#include "trainer/export/tensors.h"
#include "trainer/io/json.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;
using tests::message_of;
using tests::TempFolder;

class FormatContract : public ::testing::TestWithParam<std::string> {
 protected:
  FormatContract() {
    tests::make_side_files(folder_ / "hf");
    source_ = tests::toy_source(folder_ / "hf");
  }
  TempFolder folder_;
  ExportSource source_;
};

TEST_P(FormatContract, ReadsBackWhatItWroteAfterTheRoundingThatItDeclares) {
  for (const std::string dtype : {"bf16", "fp32"}) {
    const auto format = tests::make_format(GetParam(), dtype);
    export_folder(source_, *format, folder_ / ("out-" + dtype));
    const ReadBack back = format->read(folder_ / ("out-" + dtype));
    EXPECT_EQ(back.weights.tensors.size(), source_.weights.tensors.size() - 1) << "tied head";
    for (const auto& [name, tensor] : back.weights.tensors) {
      const at::Tensor expected =
          after_rounding(source_.weights.tensors.at(name), back.storage.at(name));
      EXPECT_TRUE(same_bits(tensor, expected)) << name;
    }
  }
}

TEST_P(FormatContract, NeedsAFreshNameAndLeavesNothingBehindWhenItFails) {
  const auto format = tests::make_format(GetParam());
  fs::create_directories(folder_ / "taken");
  EXPECT_HAS(
      message_of<recipes::UserError>([&] { export_folder(source_, *format, folder_ / "taken"); }),
      "exists already");
  source_.tokenizer_path = folder_ / "nowhere.json";
  EXPECT_THROW(export_folder(source_, *format, folder_ / "out"), recipes::UserError);
  for (const auto& entry : fs::directory_iterator(folder_.path()))
    EXPECT_TRUE(entry.path().filename() == "hf" || entry.path().filename() == "taken") << entry;
}

TEST_P(FormatContract, KeepsTheSourcesConfigAndTokenizerAndCorrectsTheDtype) {
  export_folder(source_, *tests::make_format(GetParam()), folder_ / "out/");
  const auto config = io::read_json(folder_ / "out/config.json");
  EXPECT_EQ(config["custom"], nlohmann::json({1, 2}));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(io::read_json(folder_ / "out/generation_config.json")["eos_token_id"],
            nlohmann::json({1, 2}));
  EXPECT_EQ(tests::read_file(folder_ / "out/tokenizer.json"),
            tests::read_file(folder_ / "hf/tokenizer.json"));
}

TEST_P(FormatContract, ItsOwnExportIsCertifiedWithAHashOfEveryTensor) {
  export_folder(source_, *tests::make_format(GetParam()), folder_ / "out");
  const Certificate first = certify(folder_ / "out", source_);
  EXPECT_EQ(first.mismatches, std::vector<std::string>{});
  write_certificate(folder_ / "out", first, nullptr);
  EXPECT_EQ(certify(folder_ / "out", source_).mismatches, std::vector<std::string>{});
  const auto json = io::read_json(folder_ / "out/certificate.json");
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["export_format"], GetParam());
  EXPECT_EQ(json["tensors"].size(), source_.weights.tensors.size() - 1);
  for (const auto& [name, entry] : json["tensors"].items())
    EXPECT_TRUE(entry.contains("codes_sha256") || entry.contains("weight_sha256")) << name;
  EXPECT_GT(json["max_abs_dw"].get<double>(), 0) << "the odd matrix is rounded to bf16";
  EXPECT_LT(json["max_abs_dw"].get<double>(), 0.25);
}

TEST_P(FormatContract, AnotherRunIsFoundOutByTensorAndFirstElement) {
  export_folder(source_, *tests::make_format(GetParam()), folder_ / "out");
  at::Tensor changed = source_.weights.tensors["layers.0.exact.weight"].clone();
  changed[1][2] = 1024;
  source_.weights.tensors["layers.0.exact.weight"] = changed;
  source_.weights.tensors["extra.weight"] = at::ones({2});
  source_.weights.tensors.erase("norm.weight");
  const auto mismatches = certify(folder_ / "out", source_).mismatches;
  ASSERT_EQ(mismatches.size(), 3U);
  EXPECT_HAS(mismatches[0], "extra.weight: missing in the export");
  EXPECT_HAS(mismatches[1], "exact.weight: weight differ in 1 of 15 elements, first at [1, 2]");
  EXPECT_HAS(mismatches[1], "trained 1024");
  EXPECT_HAS(mismatches[2], "norm.weight: is not in the checkpoint");
}

INSTANTIATE_TEST_SUITE_P(EveryFormat,
                         FormatContract,
                         ::testing::ValuesIn(tests::formats_of_any_scheme()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace sterna::exporter
