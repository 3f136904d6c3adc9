// The packed Hugging Face layouts: where each bit lies, what is refused, what is read back.
#include <nlohmann/json.hpp>

#include "tests/export/packed_source.h"
#include "trainer/export/certify.h"
#include "trainer/export/integer_codes.h"
#include "trainer/export/tensors.h"
#include "trainer/io/json.h"
#include "trainer/io/safetensors.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using tests::message_of;
using tests::TempFolder;

constexpr const char* kUp = "model.layers.1.mlp.up_proj";
constexpr const char* kInt4 = "[quant]\nweight = { name = \"minmax_sym\", bits = 4, group = 32 }\n";
constexpr const char* kUint4 =
    "[quant]\nweight = { name = \"minmax_asym\", bits = 4, group = 32 }\n";
constexpr const char* kTernary = "[quant]\nweight = { name = \"absmean\", group = -1 }\n";

class PackedLayouts : public ::testing::Test {
 protected:
  PackedLayouts() { tests::write_tiny_model(folder_ / "model", tests::packable_model()); }

  ExportSource source(const std::string& recipe, const std::string& act = "") const {
    return tests::planned_source(folder_ / "model", recipe, act);
  }
  void write(const ExportSource& from,
             const std::string& format,
             const std::vector<std::string>& settings = {}) {
    export_folder(from, *tests::format_with(format, settings), out_);
  }
  std::string refusal(const ExportSource& from,
                      const std::string& format,
                      const std::vector<std::string>& settings = {}) {
    return message_of<recipes::UserError>(
        [&] { export_folder(from, *tests::format_with(format, settings), folder_ / "refused"); });
  }
  /// The tensors of the export, to be changed.
  std::map<std::string, at::Tensor> tensors() const {
    std::map<std::string, at::Tensor> all;
    const auto file = io::open_safetensors(out_);
    for (const io::TensorView& view : file->tensors()) {
      const at::ScalarType type = view.dtype == io::Dtype::kI32    ? at::kInt
                                  : view.dtype == io::Dtype::kI64  ? at::kLong
                                  : view.dtype == io::Dtype::kU8   ? at::kByte
                                  : view.dtype == io::Dtype::kF16  ? at::kHalf
                                  : view.dtype == io::Dtype::kBF16 ? at::kBFloat16
                                                                   : at::kFloat;
      at::Tensor tensor = at::empty(view.shape, type);
      std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
      all[view.name] = tensor;
    }
    return all;
  }
  void replace(const std::map<std::string, at::Tensor>& all) {
    io::SafetensorsStream file(out_ / "model.safetensors");
    for (const auto& [name, tensor] : all)
      put(file, name, tensor);
    file.finish();
    fs::remove(out_ / "SHA256SUMS");
  }
  Json config() const { return io::read_json(out_ / "config.json"); }
  void configure(const std::function<void(Json&)>& change) {
    Json all = config();
    change(all["quantization_config"]);
    tests::write_file(out_ / "config.json", all.dump());
    fs::remove(out_ / "SHA256SUMS");
  }
  std::string reading_fails() {
    return message_of<recipes::UserError>([&] { model::read_weights(model::inspect(out_)); });
  }
  void expect_values_of(const ExportSource& from) {
    const model::Weights found = model::read_weights(model::inspect(out_));
    for (const auto& [name, codes] : from.weights.encoded)
      EXPECT_TRUE(same_bits(found.tensors.at(name), from.weights.tensors.at(name))) << name;
  }

  TempFolder folder_;
  fs::path out_ = folder_ / "out";
};

TEST(PackedWords, AreALittleEndianBitStreamARow) {
  const at::Tensor codes = at::arange(-8, 8, at::kChar).view({1, 16});
  const at::Tensor words = packed_words(codes, 4, -8);
  EXPECT_EQ(words[0][0].item<int32_t>(), 0x76543210);
  EXPECT_EQ(static_cast<uint32_t>(words[0][1].item<int32_t>()), 0xfedcba98U);
  const at::Tensor two =
      packed_words(codes.remainder(4).sub(2).narrow(1, 0, 5).contiguous(), 2, -2);
  EXPECT_EQ(two.sizes(), at::IntArrayRef({1, 1}));
  EXPECT_EQ(two.item<int32_t>(), 0b00'11'10'01'00);
}

TEST_F(PackedLayouts, CompressedTensorsHoldsCodesScalesAndShapeUnderItsNames) {
  const ExportSource from = source(kInt4);
  write(from, "compressed-tensors");
  const auto found = tensors();
  const quant::Encoded& e = from.weights.encoded.at(std::string(kUp) + ".weight");
  EXPECT_FALSE(found.contains(std::string(kUp) + ".weight"));
  const at::Tensor packed = found.at(std::string(kUp) + ".weight_packed");
  ASSERT_EQ(packed.sizes(), at::IntArrayRef({128, 8}));
  for (const int64_t row : {0, 77})
    for (int64_t i = 0; i < 64; ++i) {
      const auto word = static_cast<uint32_t>(packed[row][i / 8].item<int32_t>());
      EXPECT_EQ(static_cast<int>((word >> (i % 8 * 4)) & 15) - 8,
                static_cast<int>(e.codes[row][i].item<int8_t>()));
    }
  EXPECT_TRUE(same_bits(found.at(std::string(kUp) + ".weight_scale").to(at::kFloat), e.scales));
  EXPECT_EQ(found.at(std::string(kUp) + ".weight_scale").scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(found.at(std::string(kUp) + ".weight_shape"),
                        at::tensor({int64_t{128}, int64_t{64}}, at::kLong)));
  const Json settings = config()["quantization_config"];
  EXPECT_EQ(settings["ignore"], Json({"lm_head"}));
  const Json group = settings["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], Json({"Linear"}));
  EXPECT_EQ(group["weights"]["strategy"], "group");
  EXPECT_EQ(group["weights"]["group_size"], 32);
  EXPECT_TRUE(group["input_activations"].is_null());
}

TEST_F(PackedLayouts, CompressedTensorsPacksZeroPointsDownTheRows) {
  const ExportSource from = source(kUint4);
  write(from, "compressed-tensors");
  const at::Tensor packed = tensors().at(std::string(kUp) + ".weight_zero_point");
  const at::Tensor zeros = from.weights.encoded.at(std::string(kUp) + ".weight").zeros;
  ASSERT_EQ(packed.sizes(), at::IntArrayRef({16, 2}));
  for (int64_t row = 0; row < 128; ++row) {
    const auto word = static_cast<uint32_t>(packed[row / 8][1].item<int32_t>());
    EXPECT_EQ(static_cast<float>((word >> (row % 8 * 4)) & 15), zeros[row][1].item<float>());
  }
}

TEST_F(PackedLayouts, GptqPacksInputsDownTheRowsAndZeroPointsAlongThem) {
  const ExportSource from = source(kUint4);
  write(from, "gptq");
  const auto found = tensors();
  const quant::Encoded& e = from.weights.encoded.at(std::string(kUp) + ".weight");
  const at::Tensor words = found.at(std::string(kUp) + ".qweight");
  const at::Tensor zeros = found.at(std::string(kUp) + ".qzeros");
  ASSERT_EQ(words.sizes(), at::IntArrayRef({8, 128}));
  ASSERT_EQ(zeros.sizes(), at::IntArrayRef({2, 16}));
  for (const int64_t row : {0, 77})
    for (int64_t i = 0; i < 64; ++i) {
      const auto word = static_cast<uint32_t>(words[i / 8][row].item<int32_t>());
      const auto zero = static_cast<uint32_t>(zeros[i / 32][row / 8].item<int32_t>());
      EXPECT_EQ(static_cast<int>((word >> (i % 8 * 4)) & 15),
                static_cast<int>(e.codes[row][i].item<int8_t>()));
      EXPECT_EQ(static_cast<float>((zero >> (row % 8 * 4)) & 15),
                e.zeros[row][i / 32].item<float>());
    }
  EXPECT_TRUE(
      same_bits(found.at(std::string(kUp) + ".scales").to(at::kFloat).t().contiguous(), e.scales));
  EXPECT_EQ(found.at(std::string(kUp) + ".g_idx")[33].item<int32_t>(), 1);
  EXPECT_EQ(io::read_json(out_ / "quantize_config.json"), config()["quantization_config"]);
  EXPECT_EQ(config()["quantization_config"]["checkpoint_format"], "gptq_v2");
}

// The example of transformers' unpack_weights().
TEST_F(PackedLayouts, BitnetHasFourDistantRowsInAByte) {
  TempFolder folder;
  tests::TinyModel shape = tests::packable_model();
  tests::write_tiny_model(folder / "model", shape);
  ExportSource from = source(kTernary, tests::kInt8Tokens);
  quant::Encoded& e = from.weights.encoded.at(std::string(kUp) + ".weight");
  e.codes = e.codes.clone();
  const std::vector<std::vector<int>> rows = {
      {0, -1}, {-1, 1}, {-1, 1}, {-1, 1}, {1, 0}, {0, -1}, {1, -1}, {1, -1}};
  for (int64_t r = 0; r < 8; ++r)  // of 2 packed rows there, of 32 here
    for (int64_t i = 0; i < 2; ++i)
      e.codes[r % 2 + r / 2 * 32][i] = rows[static_cast<size_t>(r)][static_cast<size_t>(i)];
  from.weights.tensors[std::string(kUp) + ".weight"] = quant::decode(e);
  write(from, "hf-bitnet");
  const auto found = tensors();
  const at::Tensor packed = found.at(std::string(kUp) + ".weight");
  ASSERT_EQ(packed.sizes(), at::IntArrayRef({32, 64}));
  EXPECT_EQ(packed[0][0].item<uint8_t>(), 0b10'10'00'01);
  EXPECT_EQ(packed[0][1].item<uint8_t>(), 0b00'01'10'00);
  EXPECT_EQ(packed[1][0].item<uint8_t>(), 0b10'01'00'00);
  EXPECT_EQ(packed[1][1].item<uint8_t>(), 0b00'00'10'10);
  EXPECT_TRUE(
      same_bits(found.at(std::string(kUp) + ".weight_scale").to(at::kFloat), e.scales.flatten()));
  expect_values_of(from);
}

TEST_F(PackedLayouts, ActivationsGoWithTheFileWhereItHasWordsForThem) {
  const ExportSource from = source(kInt4, tests::kInt8Tokens);
  for (const std::string format : {"compressed-tensors", "hf-bitnet"}) {
    fs::remove_all(out_);
    write(format == "hf-bitnet" ? source(kTernary, tests::kInt8Tokens) : from, format);
    model::Decoder decoder = model::load_decoder(model::inspect(out_), at::kFloat);
    int64_t rounded = 0;
    for (const model::ActSite& site : decoder.act_sites())
      rounded += *site.quantizer != nullptr ? 1 : 0;
    EXPECT_EQ(rounded, 2 * 7) << format;
  }
  EXPECT_HAS(refusal(source(kInt4, tests::kInt8Tokens), "gptq"), "has no place for [act]");
}

TEST_F(PackedLayouts, ActivationsThatAFileCannotSayAreRefusedOrLeftOutWhereAsked) {
  const std::string four = "[act]\ninput = { name = \"per_token\", bits = 4 }\n";
  const ExportSource other = source(kInt4, four);
  EXPECT_HAS(refusal(other, "compressed-tensors"), "one scale for each token, and nothing else");
  write(other, "compressed-tensors", {"activations=drop"});
  EXPECT_EQ(certify(out_, other).mismatches, std::vector<std::string>{});
  EXPECT_TRUE(model::read_weights(model::inspect(out_)).activations.recipe.empty());
  const std::string some =
      std::string(kTernary) + "[[quant.rule]]\nmatch = \"*1.mlp.down_proj\"\nweight = \"none\"\n";
  EXPECT_HAS(refusal(source(some, tests::kInt8Tokens), "compressed-tensors"),
             "'model.layers.1.mlp.down_proj' is in full precision");
  EXPECT_HAS(refusal(source(kTernary), "hf-bitnet"), "round what packed layers read to int8");
  fs::remove_all(out_);
  write(source(kTernary), "hf-bitnet", {"activations=int8"});
  EXPECT_EQ(certify(out_, source(kTernary)).mismatches, std::vector<std::string>{});
}

TEST_F(PackedLayouts, MixedSchemesAndPlainLayersAreGroupsOfCompressedTensorsAndRefusedByGptq) {
  const std::string mixed = std::string(kInt4) +
                            "[[quant.rule]]\nmatch = \"*.up_proj\"\nweight = { name = "
                            "\"minmax_asym\", bits = 8, group = 0 }\n[[quant.rule]]\nmatch = "
                            "\"*.o_proj\"\nweight = \"none\"\n[[quant.rule]]\nmatch = "
                            "\"lm_head\"\nweight = { name = \"minmax_sym\", bits = 8, group = 32 }"
                            "\n[[quant.rule]]\nmatch = \"model.embed_tokens\"\nweight = { name = "
                            "\"minmax_sym\", bits = 4, group = 32 }\n";
  const ExportSource from = source(mixed);
  write(from, "compressed-tensors");
  EXPECT_EQ(certify(out_, from).mismatches, std::vector<std::string>{});
  expect_values_of(from);
  const Json settings = config()["quantization_config"];
  EXPECT_EQ(settings["config_groups"].size(), 3U);
  EXPECT_EQ(settings["ignore"],
            Json({"model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj"}));
  EXPECT_EQ(tensors().at("model.embed_tokens.weight").scalar_type(), at::kHalf)
      << "values of 4-bit codes are no bf16 numbers but fp16 ones, and nothing is rounded";
  EXPECT_HAS(refusal(from, "gptq"), "one scheme for all linear layers");
}

TEST_F(PackedLayouts, ShapesThatDoNotFillTheWordsAreRefusedByName) {
  tests::TinyModel odd = tests::packable_model();
  odd.inner = 72;
  tests::write_tiny_model(folder_ / "odd", odd);
  const std::string rows = "[quant]\nweight = { name = \"minmax_sym\", bits = 4, group = 0 }\n";
  const ExportSource from = tests::planned_source(folder_ / "odd", rows);
  EXPECT_HAS(refusal(from, "gptq"),
             "tensor 'model.layers.0.mlp.down_proj.weight': expected "
             "multiples of 32 outputs and inputs, found 64 and 72");
  write(from, "compressed-tensors");
  EXPECT_EQ(certify(out_, from).mismatches, std::vector<std::string>{});
}

TEST_F(PackedLayouts, BiasesAreRefusedByBitnetAndKeptByTheOthers) {
  tests::write_tiny_family(folder_ / "qwen2", "qwen2");
  const ExportSource from = tests::planned_source(folder_ / "qwen2", kTernary, tests::kInt8Tokens);
  EXPECT_HAS(refusal(from, "hf-bitnet"),
             "tensor 'model.layers.0.self_attn.k_proj.weight': readers of this layout multiply its "
             "bias");
  write(from, "compressed-tensors");
  EXPECT_EQ(certify(out_, from).mismatches, std::vector<std::string>{});
}

TEST_F(PackedLayouts, FamiliesWithoutLinearLayersAreRefused) {
  tests::write_tiny_family(folder_ / "gpt2", "gpt2");
  EXPECT_HAS(refusal(tests::planned_source(folder_ / "gpt2", kTernary), "compressed-tensors"),
             "the family 'gpt2' has no linear layers");
}

TEST_F(PackedLayouts, GptqOfTheFirstVersionIsReadWithItsZeroPointsLessOne) {
  const ExportSource from = source(kInt4);
  write(from, "gptq");
  auto all = tensors();
  for (auto& [name, tensor] : all)
    if (name.ends_with(".qzeros"))
      tensor = tensor.sub(0x11111111);
  replace(all);
  EXPECT_HAS(reading_fails(), "expected the zero point 8 everywhere");
  configure([](Json& q) { q.erase("checkpoint_format"); });
  expect_values_of(from);
}

TEST_F(PackedLayouts, BitnetWithTheInverseOfItsScaleIsRead) {
  const ExportSource from = source(kTernary, tests::kInt8Tokens);
  write(from, "hf-bitnet");
  auto all = tensors();
  for (auto& [name, tensor] : all)
    if (name.ends_with(".weight_scale"))
      tensor = tensor.to(at::kFloat).reciprocal();
  replace(all);
  configure([](Json& q) { q["linear_class"] = "bitlinear"; });
  const model::Weights found = model::read_weights(model::inspect(out_));
  for (const auto& [name, codes] : from.weights.encoded)
    EXPECT_TRUE(at::allclose(found.tensors.at(name), from.weights.tensors.at(name), 1e-6, 0));
}

TEST_F(PackedLayouts, DamageIsNamedByTensorWithWhatWasExpected) {
  const ExportSource from = source(kUint4);
  const std::string up = kUp;
  struct Damage {
    const char* format;
    std::function<void(std::map<std::string, at::Tensor>&)> change;
    std::string expected;
  };
  const std::vector<Damage> all = {
      {"compressed-tensors",
       [&](auto& t) { t.erase(up + ".weight_scale"); },
       up + ".weight_scale': expected BF16 or F16 or F32 [128, 2], found none"},
      {"compressed-tensors",
       [&](auto& t) { t[up + ".weight_packed"] = t[up + ".weight_packed"].narrow(1, 0, 7); },
       up + ".weight_packed': expected I32 [128, 8], found I32 [128, 7]"},
      {"compressed-tensors",
       [&](auto& t) {
         t[up + ".weight_shape"] = at::tensor({int64_t{-1}, int64_t{64}});
       },
       up + ".weight_shape': expected two sizes"},
      {"compressed-tensors",
       [&](auto& t) { t[up + ".weight_scale"].fill_(HUGE_VALF); },
       "its scales hold NaN or Inf"},
      {"gptq",
       [&](auto& t) { t[up + ".g_idx"] = t[up + ".g_idx"].flip(0); },
       up + ".g_idx': inputs in another order"},
      {"gptq",
       [&](auto& t) { t[up + ".qzeros"] = t[up + ".qzeros"].narrow(0, 0, 1); },
       up + ".qzeros': expected I32 [2, 16], found I32 [1, 16]"},
  };
  for (const Damage& damage : all) {
    fs::remove_all(out_);
    write(from, damage.format);
    auto changed = tensors();
    damage.change(changed);
    replace(changed);
    EXPECT_HAS(reading_fails(), damage.expected);
  }
  fs::remove_all(out_);
  write(source(kTernary, tests::kInt8Tokens), "hf-bitnet");
  auto changed = tensors();
  changed[up + ".weight"].fill_(0xff);
  replace(changed);
  EXPECT_HAS(reading_fails(), up + ".weight': holds a code that stands for none of -1, 0 and 1");
}

TEST_F(PackedLayouts, SettingsThatChangeTheWeightsAndAreNotReadAreNamed) {
  write(source(kInt4), "compressed-tensors");
  const std::string original = tests::read_file(out_ / "config.json");
  const auto refused = [&](const std::function<void(Json&)>& change) {
    tests::write_file(out_ / "config.json", original);
    configure(change);
    return message_of<recipes::UserError>([&] { model::inspect(out_); });
  };
  EXPECT_HAS(refused([](Json& q) { q["quant_method"] = "awq"; }),
             "format that is not read ('awq')");
  EXPECT_HAS(refused([](Json& q) { q["format"] = "marlin-24"; }), "'marlin-24' is not read");
  EXPECT_HAS(refused([](Json& q) { q["kv_cache_scheme"] = {{"num_bits", 8}}; }), "kv_cache_scheme");
  EXPECT_HAS(refused([](Json& q) { q["config_groups"]["group_0"]["weights"]["num_bits"] = 3; }),
             "'num_bits': expected one of 2, 4, 8, found 3");
  tests::write_file(out_ / "config.json", original);
  configure([](Json& q) { q["config_groups"]["group_0"]["targets"] = {"re:.*q_proj"}; });
  EXPECT_HAS(reading_fails(), "none has a target for 'model.layers.0.mlp.down_proj'");
  configure([](Json& q) {
    q["config_groups"]["group_0"]["targets"] = {"re:.*self_attn.*", "re:model\\.layers.*_proj$"};
  });
  expect_values_of(source(kInt4));
}

TEST_F(PackedLayouts, WeightsGoIntoSeveralFilesOfTheSizeThatIsAsked) {
  tests::TinyModel wide = tests::packable_model();
  wide.width = 256;
  wide.inner = 512;
  tests::write_tiny_model(folder_ / "wide", wide);
  const ExportSource from = tests::planned_source(folder_ / "wide", kInt4);
  for (const std::string format : {"dense", "compressed-tensors"}) {
    fs::remove_all(out_);
    write(from, format, {"shard_mb=1", "dtype=fp32"});
    EXPECT_FALSE(fs::exists(out_ / "model.safetensors"));
    const Json index = io::read_json(out_ / "model.safetensors.index.json");
    uint64_t bytes = 0;
    std::set<std::string> files;
    for (const auto& [name, file] : index["weight_map"].items())
      files.insert(file.get<std::string>());
    for (const io::TensorView& view : io::open_safetensors(out_)->tensors())
      bytes += view.bytes.size();
    EXPECT_GE(files.size(), 2U) << format;
    EXPECT_EQ(*files.begin(),
              "model-00001-of-0000" + std::to_string(files.size()) + ".safetensors");
    for (const std::string& file : files)
      EXPECT_LT(fs::file_size(out_ / file), 1'050'000U) << file;
    EXPECT_EQ(index["metadata"]["total_size"], bytes);
    EXPECT_EQ(certify(out_, from).mismatches, std::vector<std::string>{}) << format;
    expect_values_of(from);
  }
}

}  // namespace
}  // namespace sterna::exporter
