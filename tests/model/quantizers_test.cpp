// Which quantizer a parameter gets, and how a checkpoint gives it back.
#include "trainer/model/quantizers.h"

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/io/safetensors.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

DecoderConfig config_of(bool tied) {
  const tests::TempFolder folder;
  tests::TinyModel shape;
  shape.tied = tied;
  tests::write_tiny_model(folder.path(), shape);
  return inspect(folder.path()).config;
}

TEST(Place, OnlyTheLinearsOfBlocksStandInABlock) {
  for (const bool tied : {false, true}) {
    Decoder decoder(config_of(tied), at::kFloat);
    std::vector<std::string> inside;
    for (const quant::Linear* linear : decoder.linears())
      inside.push_back(linear->name);
    std::vector<std::string> placed;
    for (const Parameter& parameter : decoder.parameters()) {
      const std::string path = "model.layers." + std::to_string(parameter.layer) + ".";
      EXPECT_EQ(parameter.layer >= 0, parameter.name.starts_with(path)) << parameter.name;
      if (parameter.matrix && place_of(parameter) == quant::Place::kBlock)
        placed.push_back(module_of(parameter.name));
    }
    EXPECT_EQ(placed, inside);
    EXPECT_EQ(quantizable_modules(decoder).size(), inside.size() + (tied ? 1 : 2));
  }
}

TEST(BuildQuantizer, FollowsThePlanAndNeverQuantizesAVector) {
  auto recipe = recipes::Recipe::parse(
      "[quant]\nweight = \"twn\"\n[[quant.rule]]\nmatch = \"*norm*\"\nweight = \"twn\"\n"
      "[[quant.rule]]\nmatch = \"lm_head\"\nweight = \"minmax_sym\"\n",
      "test");
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
  Decoder decoder(config_of(false), at::kFloat);
  std::map<std::string, int64_t> bits;
  for (const Parameter& parameter : decoder.parameters())
    if (const auto quantizer = build_quantizer(plan, parameter))
      bits[parameter.name] = quantizer->bits();
  EXPECT_EQ(bits.at("lm_head.weight"), 4);
  EXPECT_EQ(bits.at("model.layers.1.mlp.up_proj.weight"), 2);
  EXPECT_FALSE(bits.contains("model.embed_tokens.weight"));
  EXPECT_FALSE(bits.contains("model.norm.weight"));
  EXPECT_EQ(bits.size(), 2 * 7 + 1u);
}

/// Learns a step and keeps a range; to set them from a weight is what a checkpoint must spare it.
class Searching final : public quant::Quantizer {
 public:
  void allocate(const Tensor& w) override {
    step_ = at::zeros({w.size(0), 1});
    range_ = at::zeros({w.size(0), 2});
  }
  void init(const Tensor&) override { throw std::logic_error("searched"); }
  quant::Encoded encode(const Tensor& w) const override {
    quant::Encoded encoded;
    encoded.codes = w.sign().to(at::kChar);
    encoded.scales = step_.clone();
    return encoded;
  }
  quant::Gradients backward(const Tensor&, const Tensor& gwq) const override { return {gwq, {}}; }
  std::vector<quant::NamedTensor> parameters() override { return {{"step", step_}}; }
  std::vector<quant::NamedTensor> buffers() override { return {{"range", range_}}; }
  int64_t max_levels() const override { return 3; }
  int64_t bits() const override { return 2; }
  int64_t group(int64_t k) const override { return k; }

 private:
  Tensor step_;
  Tensor range_;
};

/// A checkpoint that holds tensors of a quantizer and nothing else.
class Stored : public testing::Test {
 protected:
  void add(const std::string& kind, const std::string& name, const Tensor& tensor) {
    manifest_.tensors.push_back({name,
                                 kind,
                                 io::Dtype::kF32,
                                 tensor.sizes().vec(),
                                 {{kind + ".safetensors", 0, tensor.size(0)}}});
    kept_[kind].emplace_back(name, tensor);
  }

  StoredQuantizers read() {
    for (const auto& [kind, tensors] : kept_) {
      std::vector<io::TensorToWrite> writes;
      for (const auto& [name, t] : tensors)
        writes.push_back({name,
                          io::Dtype::kF32,
                          t.sizes().vec(),
                          {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}});
      io::write_safetensors(folder_.path() / (kind + ".safetensors"), std::move(writes));
    }
    tensors_ = std::make_unique<CheckpointTensors>(folder_.path(), manifest_);
    return StoredQuantizers(*tensors_);
  }

  const Tensor step_ = at::full({3, 1}, 0.25);
  const Tensor range_ = at::full({3, 2}, 2.0);
  const Tensor master_ = at::ones({3, 8});

 private:
  const tests::TempFolder folder_;
  Manifest manifest_;
  std::unique_ptr<CheckpointTensors> tensors_;
  std::map<std::string, std::vector<std::pair<std::string, Tensor>>> kept_;
};

TEST_F(Stored, QuantizersComeBackWithoutASearch) {
  add("quant", "a.weight.quant.step", step_);
  add("buffer", "a.weight.quant.range", range_);
  Searching quantizer;
  EXPECT_NO_THROW(read().restore(quantizer, "a.weight", master_));
  EXPECT_TRUE(at::equal(quantizer.parameters()[0].tensor, step_));
  EXPECT_TRUE(at::equal(quantizer.buffers()[0].tensor, range_));
}

TEST_F(Stored, ATensorThatIsAbsentOrOfAnotherShapeIsNamed) {
  add("quant", "a.weight.quant.step", at::full({4, 1}, 0.25));
  add("buffer", "b.weight.quant.range", range_);
  Searching quantizer;
  const auto message = [&](const std::string& parameter) {
    try {
      read().restore(quantizer, parameter, master_);
    } catch (const io::FileError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message("a.weight").find("a.weight.quant.step has another shape"), std::string::npos);
  EXPECT_NE(message("b.weight").find("b.weight.quant.step is absent"), std::string::npos);
}

TEST_F(Stored, OtherScalesThanThoseInUseAreRefused) {
  add("buffer", "a.weight.quant.scales_in_use", step_);
  const StoredQuantizers stored = read();
  quant::Encoded encoded;
  encoded.scales = step_.clone();
  EXPECT_NO_THROW(stored.require_scales(encoded, "a.weight"));
  encoded.scales[1] = 0.5;
  EXPECT_THROW(stored.require_scales(encoded, "a.weight"), io::FileError);
}

}  // namespace
}  // namespace sterna::model
