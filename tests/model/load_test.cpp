// Checkpoints that do not fit together, and what is said about them.
#include "trainer/model/load.h"

#include <cmath>
#include <cstring>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"
#include "trainer/io/safetensors.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  Checkpoint() { fs::copy(tests::source_dir() / "tests" / "golden" / "tiny_llama", folder_); }

  void set(const std::string& key, const nlohmann::json& value) {
    std::ifstream in(folder_ / "config.json");
    nlohmann::json json = nlohmann::json::parse(in);
    if (value.is_null())
      json.erase(key);
    else
      json[key] = value;
    std::ofstream(folder_ / "config.json") << json;
  }

  void expect_refused(const std::vector<std::string>& parts) const {
    try {
      load_decoder(inspect(folder_), at::kFloat);
      FAIL() << "accepted";
    } catch (const recipes::UserError& error) {
      for (const std::string& part : parts)
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  tests::TempFolder folder_;
};

TEST_F(Checkpoint, LoadsAsItIs) {
  Decoder decoder = load_decoder(inspect(folder_), at::kBFloat16);
  for (const Parameter& p : decoder.parameters())
    EXPECT_EQ(p.value->scalar_type(), p.matrix ? at::kBFloat16 : at::kFloat) << p.name;
}

TEST_F(Checkpoint, AMissingTensorIsNamed) {
  set("num_hidden_layers", 3);
  expect_refused({"missing", "model.layers.2.input_layernorm.weight", "and 13 more"});
}

TEST_F(Checkpoint, ATensorWithoutAPlaceIsNamed) {
  set("mlp_bias", false);
  expect_refused({"no place", "model.layers.0.mlp.down_proj.bias"});
}

TEST_F(Checkpoint, AnotherShapeIsNamedWithBothShapes) {
  set("vocab_size", 65);
  expect_refused({"model.embed_tokens.weight", "[64, 24]", "[65, 24]"});
}

TEST_F(Checkpoint, AMissingKeyAndAWrongTypeAreNamedWithTheFile) {
  set("hidden_size", nullptr);
  expect_refused({"config.json", "hidden_size", "missing"});
  set("hidden_size", "24");
  expect_refused({"config.json", "hidden_size", "expected an integer", "\"24\""});
}

TEST_F(Checkpoint, WhatIsNotSupportedIsRefusedByName) {
  set("quantization_config", nlohmann::json::object());
  expect_refused({"quantization_config", "already quantized"});
  set("quantization_config", nullptr);
  set("rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}});
  expect_refused({"spiral", "llama3", "yarn", "longrope"});
  set("hidden_act", "gelu");
  expect_refused({"hidden_act", "gelu"});
  set("model_type", "mamba");
  expect_refused({"model_type", "mamba"});
}

TEST_F(Checkpoint, AFileInsideAFolderSaysSoAndAnEmptyFolderSaysWhatWasLookedFor) {
  EXPECT_THROW(inspect(folder_ / "model.safetensors"), recipes::UserError);
  EXPECT_THROW(inspect(folder_ / "absent"), recipes::UserError);
  fs::remove(folder_ / "config.json");
  expect_refused({"no checkpoint here", "config.json", "sterna.json", "recipe.toml"});
}

TEST_F(Checkpoint, TheOlderAndTheNewerRopeKeysMeanTheSame) {
  const DecoderConfig older = read_hf_config(folder_);
  set("rope_parameters",
      {{"rope_type", "llama3"},
       {"rope_theta", 10000.0},
       {"factor", 8.0},
       {"low_freq_factor", 1.0},
       {"high_freq_factor", 4.0},
       {"original_max_position_embeddings", 16}});
  set("rope_scaling", nullptr);
  set("rope_theta", nullptr);
  const DecoderConfig newer = read_hf_config(folder_);
  EXPECT_EQ(newer.rope.type, "llama3");
  EXPECT_TRUE(at::equal(kvcache::Rope(older.rope).inverse_frequencies(),
                        kvcache::Rope(newer.rope).inverse_frequencies()));
}

TEST_F(Checkpoint, AScaledRopeWithoutItsScaleIsRefused) {
  set("rope_scaling", {{"rope_type", "linear"}});
  expect_refused({"config.json", "'factor'", "missing"});
  nlohmann::json llama3 = {{"rope_type", "llama3"},
                           {"factor", 8.0},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 16}};
  for (const char* key :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    nlohmann::json without = llama3;
    without.erase(key);
    set("rope_scaling", without);
    expect_refused({"config.json", key, "missing"});
  }
}

TEST_F(Checkpoint, WhatOtherFamiliesAskForAndIsNotBuiltIsRefusedByName) {
  const auto use = [&](const char* golden) {
    fs::copy(tests::source_dir() / "tests" / "golden" / golden,
             folder_,
             fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  };
  use("tiny_gpt2");
  set("scale_attn_by_inverse_layer_idx", true);
  expect_refused({"scale_attn_by_inverse_layer_idx", "only false"});
  use("tiny_gpt2");
  set("activation_function", "tanh");
  expect_refused({"activation_function", "'tanh'", "gelu_new"});
  use("tiny_gpt2");
  set("n_head", 3);
  expect_refused({"n_head", "3 heads do not divide the width 16"});
  use("tiny_opt");
  set("layer_norm_elementwise_affine", false);
  expect_refused({"layer_norm_elementwise_affine", "only true"});
  use("tiny_qwen2_windows");
  set("layer_types", {"full_attention", "chunked_attention"});
  expect_refused({"layer_types", "chunked_attention"});
  set("layer_types", {"full_attention"});
  expect_refused({"layer_types", "one for each of 2 layers"});
  use("tiny_mistral");
  set("sliding_window", 0);
  expect_refused({"sliding_window", "positive"});
  set("sliding_window", 5);
  set("layer_types", {"full_attention", "sliding_attention"});
  expect_refused({"layer_types", "'full_attention' in some layers"});
  set("layer_types", nullptr);
  set("rope_parameters", {{"full_attention", {{"rope_theta", 10000.0}}}});
  expect_refused({"full_attention", "differs between kinds of layers"});
}

TEST_F(Checkpoint, AHugeNumberOfLayersIsRefusedBeforeAnythingIsMade) {
  set("num_hidden_layers", 2000000000);
  set("model_type", "mistral");
  set("sliding_window", 4);
  expect_refused({"number of layers", "1024"});
}

// Integers that overflowed, and tables of 8 GB for a file of 700 bytes.
TEST_F(Checkpoint, SizesThatNoModelHasAreRefusedBeforeAnythingIsMade) {
  set("head_dim", 1 << 20);
  expect_refused({"head width is 1048576", "at most 65536"});
  set("head_dim", 8);
  for (const char* key : {"intermediate_size", "vocab_size"}) {
    set(key, 2147483648);
    expect_refused({"config.json", "2147483648"});
    set(key, UINT64_MAX);
    expect_refused({"config.json", key, "below 2^63"});
    set(key, 32);
  }
  set("hidden_size", 2000000000);
  set("vocab_size", 2000000000);
  expect_refused({"more than 10^15 parameters"});
}

TEST_F(Checkpoint, AWidthThatOverflowsWhatIsMadeOfItIsRefused) {
  fs::copy(tests::source_dir() / "tests/golden/tiny_gpt2",
           folder_,
           fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  set("n_inner", nullptr);
  for (const int64_t width : {INT64_MAX, INT64_MIN, int64_t{1} << 62}) {
    set("n_embd", width);
    expect_refused({"config.json", "width"});
  }
}

TEST_F(Checkpoint, AStretchedLengthThatIsNoLengthIsRefused) {
  set("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 1e300}});
  expect_refused({"max_position_embeddings", "no sensible length"});
}

TEST_F(Checkpoint, WindowsStandInTheLayersThatTheConfigurationNames) {
  fs::copy(tests::source_dir() / "tests/golden/tiny_qwen2_windows",
           folder_,
           fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  EXPECT_EQ(read_hf_config(folder_).windows, (std::vector<int64_t>{0, 4}));
  set("layer_types", {"sliding_attention", "full_attention"});
  EXPECT_EQ(read_hf_config(folder_).windows, (std::vector<int64_t>{4, 0}));
  set("layer_types", nullptr);
  set("use_sliding_window", false);
  EXPECT_TRUE(read_hf_config(folder_).windows.empty());
}

TEST_F(Checkpoint, OldNamesWithoutPrefixAndWithStoredMasksAreRead) {
  for (const char* golden : {"tiny_gpt2", "tiny_opt_behind"}) {
    const fs::path from = tests::source_dir() / "tests/golden" / golden;
    fs::copy(from, folder_, fs::copy_options::overwrite_existing | fs::copy_options::recursive);
    const auto file = io::open_safetensors(from);
    std::vector<io::TensorToWrite> writes;
    for (const io::TensorView& view : file->tensors())
      writes.push_back(
          {view.name.substr(view.name.find('.') + 1), view.dtype, view.shape, view.bytes});
    const std::vector<uint8_t> mask(4, 1);
    if (std::string(golden) == "tiny_gpt2")
      writes.push_back(
          {"h.0.attn.bias", io::Dtype::kU8, {1, 1, 2, 2}, std::as_bytes(std::span(mask))});
    io::write_safetensors(folder_ / "model.safetensors", std::move(writes));
    Decoder expected = load_decoder(inspect(from), at::kFloat);
    Decoder got = load_decoder(inspect(folder_), at::kFloat);
    const auto a = expected.parameters(), b = got.parameters();
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_TRUE(at::equal(*a[i].value, *b[i].value)) << a[i].name;
  }
}

TEST_F(Checkpoint, NoStartTokenMayBeWrittenAsAnEmptyList) {
  set("bos_token_id", nlohmann::json::array());
  EXPECT_EQ(read_hf_config(folder_).bos, DecoderConfig().bos);
}

/// Writes the checkpoint anew with one tensor's bytes or dtype changed.
class ChangedTensor : public Checkpoint {
 protected:
  void change(const std::string& name, io::Dtype dtype, float first) {
    const auto file = io::open_safetensors(folder_);
    std::vector<io::TensorToWrite> writes;
    std::vector<std::byte> bytes;
    for (const io::TensorView& view : file->tensors()) {
      writes.push_back({view.name, view.dtype, view.shape, view.bytes});
      if (view.name != name)
        continue;
      ASSERT_EQ(view.dtype, io::Dtype::kF32);
      bytes.assign(view.bytes.begin(), view.bytes.end());
      std::memcpy(bytes.data(), &first, sizeof(first));
      writes.back().dtype = dtype;
      writes.back().bytes = bytes;
    }
    io::write_safetensors(folder_ / "model.safetensors", std::move(writes));
  }
};

TEST_F(ChangedTensor, IntegersAreNotTakenForWeights) {
  change("model.norm.weight", io::Dtype::kI32, 1.0f);
  expect_refused({"model.safetensors", "model.norm.weight", "floating-point", "I32"});
}

TEST_F(ChangedTensor, NanAndInfAreNamedWithTheirTensor) {
  change("model.layers.1.self_attn.q_proj.weight", io::Dtype::kF32, NAN);
  expect_refused({"model.safetensors", "model.layers.1.self_attn.q_proj.weight", "NaN or Inf"});
  change("model.layers.1.self_attn.q_proj.weight", io::Dtype::kF32, INFINITY);
  expect_refused({"model.layers.1.self_attn.q_proj.weight", "NaN or Inf"});
}

}  // namespace
}  // namespace sterna::model
