// Layout "sterna": matrices are decoded a few rows at a time, and what does not fit is named.
#include "trainer/model/sterna_export.h"

#include <nlohmann/json.hpp>

#include "quant/pack.h"
#include "tests/io/support.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {
namespace {

using nlohmann::json;

class ExportFile : public testing::Test {
 protected:
  /// Several pieces of rows, with tables of levels that the groups choose among.
  void SetUp() override {
    at::manual_seed(5);
    encoded_.grid = quant::Grid::kLevels;
    encoded_.bits = 3;
    encoded_.group = 100;
    encoded_.scale_dtype = at::kFloat;
    encoded_.codes = at::randint(0, 6, {900, 700}, at::kInt).to(at::kChar);
    encoded_.scales = at::rand({900, 7});
    encoded_.scales_below = at::rand({900, 7});
    encoded_.zeros = at::randint(0, 4, {900, 7}, at::kInt).to(at::kFloat);
    encoded_.levels = at::randn({4, 6});
    entry_ = {{"storage", "codes"},
              {"shape", {900, 700}},
              {"grid", "levels"},
              {"bits", 3},
              {"code_min", 0},
              {"group", 100},
              {"offset", 0},
              {"scale_dtype", "F32"},
              {"zeros", "packed"},
              {"scales_below", true}};
    put("w.codes", quant::pack_codes(encoded_.codes, 3, 0));
    put("w.scales", encoded_.scales);
    put("w.scales_below", encoded_.scales_below);
    put("w.zeros", quant::pack_codes(encoded_.zeros.to(at::kChar), 3, 0));
    put("w.levels", encoded_.levels);
  }

  void put(const std::string& name, const Tensor& tensor) { tensors_[name] = tensor; }

  void write() {
    std::vector<io::TensorToWrite> writes;
    for (const auto& [name, t] : tensors_)
      writes.push_back({name,
                        t.scalar_type() == at::kByte ? io::Dtype::kU8 : io::Dtype::kF32,
                        t.sizes().vec(),
                        {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}});
    io::write_safetensors(folder_ / "sterna.safetensors", std::move(writes));
    const json root = {{"format", 1}, {"layout", "sterna"}, {"tensors", {{"w", entry_}}}};
    tests::write_file(folder_ / "sterna.json", root.dump());
  }

  /// What is said of the export as it is now.
  std::string error() {
    write();
    return tests::message_of<io::FileError>(
        [&] { open_sterna_weights(folder_.path())->take("w", at::kFloat); });
  }

  quant::Encoded encoded_;
  json entry_;
  std::map<std::string, Tensor> tensors_;
  tests::TempFolder folder_;
};

TEST_F(ExportFile, IsDecodedByRowsAsItIsDecodedWhole) {
  write();
  const auto source = open_sterna_weights(folder_.path());
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    EXPECT_TRUE(at::equal(source->take("w", dtype), quant::decode(encoded_, dtype))) << dtype;
  const quant::Encoded codes = *source->codes("w");
  EXPECT_TRUE(at::equal(codes.codes, encoded_.codes));
  EXPECT_TRUE(at::equal(quant::decode(codes), quant::decode(encoded_)));
  EXPECT_EQ(source->shape("w"), (std::vector<int64_t>{900, 700}));
}

TEST_F(ExportFile, WhatDoesNotFitIsNamedWithItsTensor) {
  put("more", at::rand({2}));
  EXPECT_HAS(error(), "tensor 'more' is not listed in sterna.json");
  tensors_.erase("more");
  put("w.scales", at::rand({900, 6}));
  EXPECT_HAS(error(), "sterna.json: tensor 'w' has scales of another shape");
  put("w.scales", encoded_.scales);
  put("w.codes", at::zeros({900, 262}, at::kByte));
  EXPECT_HAS(error(), "tensor 'w.codes' is not of the shape");
  tensors_.erase("w.codes");
  EXPECT_HAS(error(), "holds no tensor 'w.codes'");
  entry_["bits"] = 9;
  EXPECT_HAS(error(), "bits or code_min out of range");
  entry_["storage"] = "planes";
  EXPECT_HAS(error(), "unknown storage 'planes'");
}

TEST_F(ExportFile, DamagedValuesAreFoundWhereTheyAreRead) {
  Tensor codes = tensors_.at("w.codes").clone();
  codes[899][262] = 0xff;
  put("w.codes", codes);
  EXPECT_HAS(error(), "tensor 'w' holds damaged codes");
  put("w.codes", quant::pack_codes(at::full_like(encoded_.codes, 6), 3, 0));
  EXPECT_HAS(error(), "codes beyond its table of levels");
  put("w.codes", quant::pack_codes(encoded_.codes, 3, 0));
  put("w.zeros", quant::pack_codes(at::full({900, 7}, 4, at::kChar), 3, 0));
  EXPECT_HAS(error(), "choose a row beyond its table of levels");
}

}  // namespace
}  // namespace sterna::model
