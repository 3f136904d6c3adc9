// Every registered quantizer's codes survive the layout "sterna" bit for bit.

#include "quant/quantizer.h"
#include "tests/export/toy_source.h"
#include "trainer/export/certify.h"
#include "trainer/export/tensors.h"

namespace sterna::exporter {
namespace {

using tests::TempFolder;

void expect_same(const at::Tensor& found, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(found.defined(), expected.defined()) << what;
  EXPECT_TRUE(!expected.defined() || same_bits(found, expected)) << what;
}

TEST(SternaExport, HoldsTheCodesOfEveryRegisteredQuantizer) {
  const TempFolder folder;
  tests::make_side_files(folder / "hf");
  ExportSource source = tests::toy_source(folder / "hf");
  const at::Tensor w = tests::heavy_tailed({5, 128});
  std::vector<std::string> names;
  for (const std::string& quantizer_name : quant::quantizers().names()) {
    const auto quantizer = quant::quantizers().make_default(quantizer_name);
    quantizer->init(w);
    const std::string name = "layers.0." + quantizer_name + ".trained.weight";
    source.weights.encoded[name] = quantizer->encode(w);
    source.weights.tensors[name] = quant::decode(source.weights.encoded[name]);
    names.push_back(name);
  }
  const auto format = tests::make_format("sterna");
  export_folder(source, *format, folder / "out");
  const ReadBack back = format->read(folder / "out");
  EXPECT_GE(names.size(), 15U);
  for (const std::string& name : names) {
    const quant::Encoded& expected = source.weights.encoded.at(name);
    const quant::Encoded& found = back.weights.encoded.at(name);
    expect_same(found.codes, expected.codes, name + " codes");
    expect_same(found.scales, expected.scales, name + " scales");
    expect_same(found.scales_below, expected.scales_below, name + " scales below zero");
    expect_same(found.zeros, expected.zeros, name + " zeros");
    expect_same(found.levels, expected.levels, name + " levels");
    expect_same(back.weights.tensors.at(name), source.weights.tensors.at(name), name);
  }
  EXPECT_EQ(certify(folder / "out", source).mismatches, std::vector<std::string>{});
}

}  // namespace
}  // namespace sterna::exporter
