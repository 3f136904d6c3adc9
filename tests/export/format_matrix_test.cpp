// Every scheme in every format: it comes back as it was trained, or it is refused with the reason.
#include "tests/export/packed_source.h"
#include "trainer/export/certify.h"
#include "trainer/export/tensors.h"

namespace sterna::exporter {
namespace {

using tests::message_of;
using tests::TempFolder;

/// A scheme, and what has to be said of it in each format; "": nothing, it is held exactly.
struct Case {
  const char* name;
  const char* weight;
  const char* compressed_tensors = "";
  const char* gptq = "";
  const char* hf_bitnet = "";
  const char* dense = "";
};

constexpr const char* kTable = "levels of a table";
constexpr const char* kHalf = "half a step beside the integers";
constexpr const char* kTernaryAlone = "-1, 0 and 1 alone";
constexpr const char* kOneScale = "one scale for a matrix";
constexpr const char* kTooMany = "do not fit the sizes";
constexpr const char* kRounded = "rounded once more, to bfloat16";

std::vector<Case> cases() {
  return {
      {"ternary_matrix", "{ name = \"absmean\", group = -1 }"},
      {"ternary_row", "{ name = \"twn\", group = 0 }", "", "", kOneScale},
      {"ternary_group", "{ name = \"twn\", group = 32 }", "", "", kOneScale},
      {"int2", "{ name = \"lsq\", bits = 2, group = 32 }", "", "", kTernaryAlone},
      {"int3", "{ name = \"minmax_sym\", bits = 3, group = 32 }", "", "", kTooMany, kRounded},
      {"int4_row", "{ name = \"minmax_sym\", bits = 4, group = 0 }", "", "", kTooMany, kRounded},
      {"int4_fp16",
       "{ name = \"minmax_sym\", bits = 4, group = 64, scale_dtype = \"fp16\" }",
       "",
       "",
       kTooMany,
       kRounded},
      {"int4_fp32",
       "{ name = \"minmax_sym\", bits = 4, group = 64, scale_dtype = \"fp32\" }",
       "",
       "scales in fp16",
       kTooMany,
       kRounded},
      {"int5", "{ name = \"minmax_sym\", bits = 5, group = 0 }", "", "", kTooMany, kRounded},
      {"int8", "{ name = \"minmax_sym\", bits = 8, group = 32 }", "", "", kTooMany, kRounded},
      {"uint2",
       "{ name = \"minmax_asym\", bits = 2, group = 32 }",
       "",
       "",
       kTernaryAlone,
       kRounded},
      {"uint4", "{ name = \"minmax_asym\", bits = 4, group = 64 }", "", "", kTooMany, kRounded},
      {"uint8", "{ name = \"minmax_asym\", bits = 8, group = 0 }", "", "", kTooMany, kRounded},
      {"float_zero",
       "{ name = \"minmax_asym\", bits = 4, group = 64, zero = \"float\" }",
       "no integers",
       "no integers",
       "no integers",
       kRounded},
      {"seq", "{ name = \"seq\", bits = 2 }", kHalf, kHalf, kHalf, kRounded},
      {"balanced2", "{ name = \"balanced2\" }", kHalf, kHalf, kHalf, kRounded},
      {"binary", "{ name = \"llm_qat\", bits = 1 }", kHalf, kHalf, kHalf},
      {"dint4", "{ name = \"dint\", bits = 4 }", kTable, kTable, kTable, kRounded},
      {"nf4", "{ name = \"nf\", bits = 4 }", kTable, kTable, kTable, kRounded},
      {"dkm", "{ name = \"dkm\", bits = 2 }", kTable, kTable, kTable},
  };
}

const char* reason_of(const Case& one, const std::string& format) {
  return format == "compressed-tensors" ? one.compressed_tensors
         : format == "gptq"             ? one.gptq
         : format == "hf-bitnet"        ? one.hf_bitnet
         : format == "dense"            ? one.dense
                                        : "";
}

class FormatMatrix : public ::testing::TestWithParam<Case> {
 protected:
  static std::string recipe() {
    return std::string("[quant]\nweight = ") + GetParam().weight + "\n";
  }
  void expect_exact(const ExportSource& source, const Format& format, const std::string& name) {
    export_folder(source, format, folder_ / name);
    EXPECT_EQ(certify(folder_ / name, source).mismatches, std::vector<std::string>{}) << name;
    const model::Weights found = model::read_weights(model::inspect(folder_ / name));
    for (const auto& [tensor, values] : source.weights.tensors)
      if (source.weights.encoded.count(tensor) == 1) {
        EXPECT_TRUE(same_bits(found.tensors.at(tensor), values)) << name << " " << tensor;
      }
  }
  TempFolder folder_;
};

TEST_P(FormatMatrix, EachFormatGivesBackTheSchemeExactlyOrSaysWhyItCannot) {
  tests::write_tiny_model(folder_ / "model", tests::packable_model());
  const ExportSource source =
      tests::planned_source(folder_ / "model", recipe(), tests::kInt8Tokens);
  const Prospect prospect = tests::prospect_of(source, recipe());
  for (const std::string name : {"compressed-tensors", "gptq", "hf-bitnet", "dense", "sterna"}) {
    const bool drops = name == "gptq" || name == "dense";
    const auto format = tests::format_with(
        name, drops ? std::vector<std::string>{"activations=drop"} : std::vector<std::string>{});
    const auto why = format->why_not(prospect);
    const std::string expected = reason_of(GetParam(), name);
    if (expected.empty()) {
      EXPECT_EQ(why.value_or(""), "") << name;
      expect_exact(source, *format, name);
      continue;
    }
    ASSERT_TRUE(why.has_value()) << name;
    EXPECT_HAS(*why, expected);
    EXPECT_HAS(*why, "tensor 'model.layers.0.");
    EXPECT_HAS(*why, "expected ");
    if (format->refuses_inexact()) {
      EXPECT_EQ(
          message_of<recipes::UserError>([&] { export_folder(source, *format, folder_ / name); }),
          *why);
      EXPECT_FALSE(std::filesystem::exists(folder_ / name));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryScheme,
                         FormatMatrix,
                         ::testing::ValuesIn(cases()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(FormatMatrixOfDefaults, EveryRegisteredQuantizerIsHeldExactlyOrRefusedWithTheSameWords) {
  const TempFolder folder;
  tests::write_tiny_model(folder / "model", tests::packable_model());
  int held = 0, refused = 0;
  for (const std::string& quantizer : quant::quantizers().names()) {
    const std::string recipe = "[quant]\nweight = { name = \"" + quantizer + "\" }\n";
    const ExportSource source = tests::planned_source(folder / "model", recipe, tests::kInt8Tokens);
    for (const std::string name : {"compressed-tensors", "hf-bitnet"}) {
      const auto format = tests::make_format(name);
      const auto why = format->why_not(tests::prospect_of(source, recipe));
      const auto target = folder / (quantizer + "-" + name);
      ++(why ? refused : held);
      if (why)
        EXPECT_EQ(message_of<recipes::UserError>([&] { export_folder(source, *format, target); }),
                  *why);
      else
        export_folder(source, *format, target);
      EXPECT_TRUE(why || certify(target, source).mismatches.empty()) << quantizer << " " << name;
    }
  }
  EXPECT_GT(held, 8);
  EXPECT_GT(refused, 8);
}

}  // namespace
}  // namespace sterna::exporter
