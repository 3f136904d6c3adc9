// Layout "gguf": every scheme either comes back exactly or is refused with the reason; whole models
// of every family that llama.cpp knows.
#include "trainer/io/gguf.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "tests/export/gguf_student.h"
#include "tests/export/toy_source.h"
#include "tests/support/paths.h"
#include "tests/support/tiny_families.h"
#include "trainer/export/certify.h"
#include "trainer/export/gguf_blocks.h"
#include "trainer/export/tensors.h"
#include "trainer/io/json.h"
#include "trainer/text/tokenizer.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;
using io::Dtype;
using tests::encoded_by;
using tests::message_of;
using tests::TempFolder;

at::Tensor heavy_weight(int64_t n, int64_t k) {
  at::manual_seed(5);
  return tests::heavy_tailed({n, k}) * 0.02;
}

/// The file's view of an encoded tensor.
io::TensorView file_view(const GgufTensor& tensor, int64_t n, int64_t k) {
  return {"w",
          tensor.dtype,
          {n, k},
          {static_cast<const std::byte*>(tensor.stored.const_data_ptr()), tensor.stored.nbytes()}};
}

/// Whatever was stored de-quantizes to the trained values, and codes come back where they can.
void expect_exact(const GgufTensor& tensor, const quant::Encoded& e, const std::string& what) {
  const int64_t n = e.codes.size(0), k = e.codes.size(1);
  const io::TensorView view = file_view(tensor, n, k);
  at::Tensor values = at::empty({n, k}, at::kFloat);
  io::to_float(view, {values.mutable_data_ptr<float>(), view.elements()});
  if (tensor.scheme && tensor.scheme->negated)
    values.add_(0);  // as reading a model does
  EXPECT_TRUE(same_bits(values, quant::decode(e))) << what;
  if (!tensor.scheme)
    return;
  const quant::Encoded back = model::read_gguf_codes(view, *tensor.scheme, "x.gguf");
  EXPECT_TRUE(same_bits(back.codes, e.codes)) << what;
  EXPECT_TRUE(same_bits(back.scales, e.scales)) << what;
  ASSERT_EQ(back.zeros.defined(), e.zeros.defined()) << what;
  EXPECT_TRUE(!e.zeros.defined() || same_bits(back.zeros, e.zeros)) << what;
  EXPECT_TRUE(same_bits(quant::decode(back), quant::decode(e))) << what;
}

struct SchemeCase {
  const char* scheme;
  int64_t k;
  Dtype type;
  bool codes = true;  ///< come back too
};

TEST(GgufTypes, AreTheSmallestThatHoldTheGrid) {
  const SchemeCase cases[] = {
      {R"({ name = "twn" })", 512, Dtype::kTQ2_0},
      {R"({ name = "twn" })", 576, Dtype::kQ2_0},
      {R"({ name = "absmean" })", 512, Dtype::kTQ2_0},
      {R"({ name = "twn", group = 64 })", 512, Dtype::kQ2_0},
      {R"({ name = "twn", group = 32 })", 512, Dtype::kQ4_0},
      {R"({ name = "seq", bits = 2 })", 512, Dtype::kQ2_K},
      {R"({ name = "seq", bits = 2 })", 576, Dtype::kQ4_0},
      {R"({ name = "balanced2" })", 512, Dtype::kQ2_K},
      {R"({ name = "minmax_asym", bits = 2, group = 0 })", 512, Dtype::kQ2_K},
      {R"({ name = "minmax_asym", bits = 4, group = 0 })", 512, Dtype::kQ4_K},
      {R"({ name = "minmax_asym", bits = 4, group = 32 })", 512, Dtype::kQ5_0, false},
      {R"({ name = "minmax_sym", bits = 4, group = 32 })", 96, Dtype::kQ4_0},
      {R"({ name = "minmax_sym", bits = 4, group = 128 })", 512, Dtype::kQ4_0},
      {R"({ name = "minmax_sym", bits = 8 })", 96, Dtype::kQ8_0},
      {R"({ name = "dint", bits = 4 })", 96, Dtype::kQ8_0, false},
      {R"({ name = "dint", bits = 3 })", 96, Dtype::kQ5_0, false},
      {R"({ name = "lsq", bits = 2, group = 64 })", 512, Dtype::kQ2_0},
  };
  for (const SchemeCase& c : cases) {
    const std::string what = std::string(c.scheme) + " " + std::to_string(c.k);
    const quant::Encoded e = encoded_by(c.scheme, heavy_weight(6, c.k));
    const GgufTensor tensor = codes_to_gguf("w", e, Dtype::kTQ2_0);
    EXPECT_EQ(io::dtype_name(tensor.dtype), io::dtype_name(c.type)) << what;
    EXPECT_EQ(tensor.scheme.has_value(), c.codes) << what;
    expect_exact(tensor, e, what);
  }
}

TEST(GgufTypes, OfThreeLevelsAreThoseAskedFor) {
  const quant::Encoded e = encoded_by(R"({ name = "twn" })", heavy_weight(6, 512));
  for (const Dtype type : {Dtype::kTQ1_0, Dtype::kTQ2_0, Dtype::kQ2_0}) {
    const GgufTensor tensor = codes_to_gguf("w", e, type);
    EXPECT_EQ(tensor.dtype, type);
    EXPECT_EQ(tensor.fallbacks, std::vector<std::string>{});
    expect_exact(tensor, e, std::string(io::dtype_name(type)));
  }
}

TEST(GgufTypes, FourLevelsWithThreeBelowZeroHaveNegativeScales) {
  quant::Encoded e;
  e.codes = at::randint(-2, 2, {4, 128}, at::kInt).to(at::kChar);
  e.codes[0][0] = -2;
  e.scales = at::full({4, 1}, 0.25);
  e.group = 128;
  e.bits = 2;
  e.code_min = -2;
  const GgufTensor tensor = codes_to_gguf("w", e, Dtype::kTQ2_0);
  EXPECT_EQ(tensor.dtype, Dtype::kQ2_0);
  ASSERT_TRUE(tensor.scheme);
  EXPECT_TRUE(tensor.scheme->negated);
  expect_exact(tensor, e, "int2");
}

TEST(GgufTypes, ALargerOneIsSaidWithTheReason) {
  const auto why = [](const char* scheme, int64_t k) {
    return codes_to_gguf("w", encoded_by(scheme, heavy_weight(3, k)), Dtype::kTQ2_0).fallbacks;
  };
  EXPECT_EQ(why(R"({ name = "twn" })", 576),
            std::vector<std::string>{"TQ2_0: 576 inputs are no multiple of 256"});
  const auto groups = why(R"({ name = "twn", group = 64 })", 512);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups.front(), "TQ2_0: 256 inputs share a scale, here 64 do");
  EXPECT_EQ(why(R"({ name = "twn" })", 512), std::vector<std::string>{});
}

TEST(GgufTypes, AreRefusedWithTheReasonForEach) {
  const auto refusal = [](const quant::Encoded& e) {
    return message_of<recipes::UserError>([&] { codes_to_gguf("layer.w", e, Dtype::kTQ2_0); });
  };
  const at::Tensor w = heavy_weight(4, 96);
  EXPECT_HAS(refusal(encoded_by(R"({ name = "nf", bits = 4, group = 32 })", w)),
             "no multiples of half a step");
  EXPECT_HAS(refusal(encoded_by(R"({ name = "nf", bits = 4, group = 32 })", w)),
             "tensor 'layer.w'");
  EXPECT_HAS(refusal(encoded_by(R"({ name = "nf3_sided", group = 32 })", w)),
             "a scale of their own");
  const std::string fp32 =
      refusal(encoded_by(R"({ name = "twn", scale_dtype = "fp32" })", heavy_weight(4, 512)));
  EXPECT_HAS(fp32, "no half-precision numbers");
  EXPECT_HAS(fp32, "scale_dtype = \"bf16\"");
  EXPECT_HAS(fp32, "export it as \"sterna\"");
}

TEST(GgufTypes, AreF16WhereNoBlockFitsTheShapeAndF16IsExact) {
  const quant::Encoded e =
      encoded_by(R"({ name = "minmax_sym", bits = 4, group = 0 })", heavy_weight(4, 40));
  const GgufTensor tensor = codes_to_gguf("w", e, Dtype::kTQ2_0);
  EXPECT_EQ(tensor.dtype, Dtype::kF16);
  ASSERT_EQ(tensor.fallbacks.size(), 4U);
  EXPECT_EQ(tensor.fallbacks.front(), "Q4_0: 40 inputs are no multiple of 32");
  expect_exact(tensor, e, "40");
}

/// The matrix of issue and specification: nothing in between.
TEST(GgufTypes, HoldEveryRegisteredSchemeExactlyOrRefuseIt) {
  int held = 0, refused = 0;
  for (const std::string& name : quant::quantizers().names()) {
    for (const int64_t k : {512, 384, 128}) {
      const at::Tensor w = heavy_weight(5, k);
      const auto quantizer = quant::quantizers().make_default(name);
      quantizer->init(w);
      const quant::Encoded e = quantizer->encode(w);
      try {
        expect_exact(codes_to_gguf(name, e, Dtype::kTQ1_0), e, name + " " + std::to_string(k));
        ++held;
      } catch (const recipes::UserError& error) {
        EXPECT_HAS(std::string(error.what()), "no GGUF type holds its values exactly");
        ++refused;
      }
    }
  }
  EXPECT_GE(held, 20);
  EXPECT_GE(refused, 3);
}

class GgufModel : public ::testing::TestWithParam<std::string> {
 protected:
  /// A checkpoint of that family and, from it, a student with codes in the matrices of its blocks.
  ExportSource student(const std::string& scheme) {
    if (GetParam() == "llama")
      tests::write_tiny_model(folder_ / "hf");
    else
      tests::write_tiny_family(folder_ / "hf", GetParam());
    return tests::quantized_student(folder_ / "hf", scheme);
  }

  TempFolder folder_;
};

TEST_P(GgufModel, ComesBackWithItsCodesAndComputesTheSame) {
  const ExportSource source = student(R"({ name = "minmax_sym", bits = 4, group = 32 })");
  const auto format = tests::make_format("gguf", "fp32");
  export_folder(source, *format, folder_ / "out");
  EXPECT_TRUE(format->recognises(folder_ / "out"));
  EXPECT_FALSE(fs::exists(folder_ / "out/config.json"));

  const Certificate certificate = certify(folder_ / "out", source);
  EXPECT_EQ(certificate.mismatches, std::vector<std::string>{});
  EXPECT_EQ(certificate.with_codes, static_cast<int64_t>(source.weights.encoded.size()));

  const at::Tensor ids = at::arange(2, 26).view({2, 12});
  const at::Tensor before = tests::logits_of(tests::decoder_of(source), ids);
  const at::Tensor after =
      tests::logits_of(model::load_decoder(model::inspect(folder_ / "out"), at::kFloat), ids);
  // The file has the norms' epsilon and RoPE's base in fp32.
  EXPECT_TRUE(at::allclose(after, before, 1e-5, 1e-6));
  EXPECT_GT(before.abs().max().item<double>(), 1e-3);
}

TEST_P(GgufModel, IsFoundOutWhereACodeChanges) {
  ExportSource source = student(R"({ name = "minmax_sym", bits = 4, group = 32 })");
  export_folder(source, *tests::make_format("gguf"), folder_ / "out");
  const std::string name = source.weights.encoded.begin()->first;
  quant::Encoded& e = source.weights.encoded[name];
  e.codes = e.codes.clone();
  e.codes[3][1] = e.codes[3][1].item<int64_t>() == 0 ? 1 : 0;
  source.weights.tensors[name] = quant::decode(e);
  const auto mismatches = certify(folder_ / "out", source).mismatches;
  ASSERT_GE(mismatches.size(), 2U);
  EXPECT_HAS(mismatches[0], name + ": codes differ in 1 of");
  EXPECT_HAS(mismatches[0], "first at [3, 1]");
}

INSTANTIATE_TEST_SUITE_P(EveryFamily,
                         GgufModel,
                         ::testing::Values("llama", "mistral", "qwen2", "gpt2"),
                         [](const auto& one) { return one.param; });

class GgufFile : public ::testing::Test {
 protected:
  ExportSource source(const std::string& family) {
    tests::write_tiny_family(folder_ / family, family);
    return read_source(model::inspect(folder_ / family));
  }

  std::string refusal(const ExportSource& of) {
    return message_of<recipes::UserError>(
        [&] { export_folder(of, *tests::make_format("gguf"), folder_ / "out"); });
  }

  TempFolder folder_;
};

TEST_F(GgufFile, SaysWhatLlamaCppAsksFor) {
  ExportSource qwen = source("qwen2");
  export_folder(qwen, *tests::make_format("gguf"), folder_ / "out");
  const auto file = io::open_gguf(folder_ / "out/model.gguf");
  EXPECT_EQ(file->text("general.architecture"), "qwen2");
  EXPECT_EQ(file->integer("qwen2.block_count"), 2);
  EXPECT_EQ(file->integer("qwen2.attention.head_count_kv"), 2);
  EXPECT_EQ(file->integer("general.quantization_version"), 2);
  EXPECT_EQ(file->integer("general.file_type"), 32);
  EXPECT_EQ(file->text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file->text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file->texts("tokenizer.ggml.tokens").size(), 257U);
  EXPECT_EQ(file->integers("tokenizer.ggml.token_type")[256], 3);
  EXPECT_EQ(file->integer("tokenizer.ggml.eos_token_id"), 256);
  EXPECT_EQ(file->find("output.weight"), nullptr) << "tied";
  EXPECT_EQ(file->at("blk.0.attn_norm.weight").dtype, Dtype::kF32);
  EXPECT_EQ(file->at("blk.0.attn_q.bias").dtype, Dtype::kF32);
  const auto tokenizer = text::open_tokenizer(folder_ / "out/model.gguf");
  const auto before = text::open_tokenizer(folder_ / "qwen2");
  EXPECT_EQ(tokenizer->encode("Terns: 12 fly,\n don't they?"),
            before->encode("Terns: 12 fly,\n don't they?"));
}

TEST_F(GgufFile, IsRefusedWhereLlamaCppKnowsNoSuchModelOrTokenizer) {
  EXPECT_HAS(refusal(source("opt")), "no architecture for the family 'opt'");
  ExportSource qwen3 = source("qwen3");
  EXPECT_HAS(refusal(qwen3), "different attention windows");
  ExportSource qwen = source("qwen2");
  nlohmann::json spec = io::read_json(folder_ / "qwen2/tokenizer.json");
  spec["pre_tokenizer"] = {{"type", "Whitespace"}};
  tests::write_file(folder_ / "qwen2/tokenizer.json", spec.dump());
  EXPECT_HAS(refusal(qwen), "pre-tokenizer has no name in GGUF");
  fs::remove(folder_ / "qwen2/tokenizer.json");
  EXPECT_HAS(refusal(qwen), "a tokenizer.json is needed");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(GgufFile, KeepsTheScoresOfASentencePieceVocabularyInTheOrderOfItsMerges) {
  ExportSource qwen = source("qwen2");
  nlohmann::json spec = io::read_json(folder_ / "qwen2/tokenizer.json");
  nlohmann::json vocab = {{"<unk>", 0}, {"<0x0A>", 1}, {"\u2581", 2}, {"a", 3}, {"b", 4}};
  vocab["ab"] = 5;
  vocab["\u2581ab"] = 6;
  spec["model"] = {{"type", "BPE"},
                   {"unk_token", "<unk>"},
                   {"fuse_unk", true},
                   {"byte_fallback", true},
                   {"vocab", vocab},
                   {"merges", {"a b", "\u2581 ab"}}};
  spec["pre_tokenizer"] = nullptr;
  spec["decoder"] = nullptr;
  const nlohmann::json spaces = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  spec["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, spaces}}};
  tests::write_file(folder_ / "qwen2/tokenizer.json", spec.dump());
  export_folder(qwen, *tests::make_format("gguf"), folder_ / "out");
  const auto file = io::open_gguf(folder_ / "out/model.gguf");
  EXPECT_EQ(file->text("tokenizer.ggml.model"), "llama");
  const auto& scores = std::get<std::vector<double>>(file->values().at("tokenizer.ggml.scores"));
  EXPECT_EQ(scores[5], 0);
  EXPECT_EQ(scores[6], -1);
  EXPECT_EQ(scores[3], -3);
  EXPECT_TRUE(file->boolean("tokenizer.ggml.add_space_prefix"));
  EXPECT_EQ(file->integers("tokenizer.ggml.token_type")[1], 6);
  EXPECT_EQ(file->integers("tokenizer.ggml.token_type")[7], 5);
  EXPECT_EQ(file->texts("tokenizer.ggml.tokens")[7], "[PAD7]");
  const auto tokenizer = text::open_tokenizer(folder_ / "out/model.gguf");
  EXPECT_EQ(tokenizer->encode("ab ab"), (std::vector<int32_t>{6, 6}));
}

TEST_F(GgufFile, OfAnotherGgufKeepsTheVocabulary) {
  export_folder(source("qwen2"), *tests::make_format("gguf", "fp32"), folder_ / "first");
  const auto first = folder_ / "first/model.gguf";
  const ExportSource again = read_source(model::inspect(first));
  export_folder(again, *tests::make_format("gguf", "fp32"), folder_ / "out");
  const auto before = io::open_gguf(first);
  const auto after = io::open_gguf(folder_ / "out/model.gguf");
  EXPECT_FALSE(before->texts("tokenizer.ggml.tokens").empty());
  EXPECT_EQ(after->texts("tokenizer.ggml.tokens"), before->texts("tokenizer.ggml.tokens"));
  EXPECT_EQ(certify(folder_ / "out", again).mismatches, std::vector<std::string>{});
}

TEST_F(GgufFile, OfSomeoneElsesCodesIsRefused) {
  ExportSource qwen = source("qwen2");
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  qwen.weights.encoded[name] =
      encoded_by(R"({ name = "minmax_sym", bits = 4, group = 32 })", qwen.weights.tensors[name]);
  qwen.weights.tensors[name] = quant::decode(qwen.weights.encoded[name]);
  export_folder(qwen, *tests::make_format("gguf"), folder_ / "out");
  std::string bytes = tests::read_file(folder_ / "out/model.gguf");
  const auto at = bytes.find("\"bits\":4");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 7] = '2';
  tests::write_file(folder_ / "x.gguf", bytes);
  const auto file = model::inspect(folder_ / "x.gguf");
  EXPECT_HAS(message_of<io::FileError>([&] { model::read_weights(file); }),
             "its blocks do not hold the codes");
}

}  // namespace
}  // namespace sterna::exporter
