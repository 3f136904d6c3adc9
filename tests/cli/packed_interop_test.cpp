// Packed exports in the hands of those they are made for: their own code unpacks our weights bit
// for bit, and transformers computes our logits from them.
#include <sstream>

#include "tests/support/data.h"
#include "tests/support/peers.h"
#include "tests/support/tiny_families.h"
#include "trainer/cli/command.h"

namespace sterna::cli {
namespace {

/// A model, how it is quantized, the format, and how far logits may lie apart.
struct Way {
  const char* name;
  const char* model;
  std::vector<std::string> recipe;
  const char* format;
  std::string tolerance;  ///< "": transformers has no reader that installs here
};

constexpr const char* kSums = "1e-4";  // fp32 on both sides; only the order of sums differs
// BitNet's layers divide by a rounded 127 / max where ours multiply by max / 127: an activation in
// the middle between two levels may go to the other one, and others behind it. Means of 1e-4 (a
// trained model) and 1e-2 (a random one) were seen.
constexpr const char* kTies = "0.2";

const std::vector<std::string> kTokens{"act.input=per_token", "act.input.bits=8"};

std::vector<std::string> with_tokens(std::vector<std::string> recipe) {
  recipe.insert(recipe.end(), kTokens.begin(), kTokens.end());
  return recipe;
}

std::vector<Way> ways() {
  const std::vector<std::string> ternary{"quant.weight=absmean", "quant.weight.group=-1"};
  const std::vector<std::string> ternary64{"quant.weight=twn", "quant.weight.group=32"};
  const std::vector<std::string> int4{
      "quant.weight=minmax_sym", "quant.weight.bits=4", "quant.weight.group=32"};
  const std::vector<std::string> uint4{
      "quant.weight=minmax_asym", "quant.weight.bits=4", "quant.weight.group=64"};
  const std::vector<std::string> uint2{
      "quant.weight=minmax_asym", "quant.weight.bits=2", "quant.weight.group=32"};
  const std::vector<std::string> int8{
      "quant.weight=minmax_sym", "quant.weight.bits=8", "quant.weight.group=0"};
  return {
      {"ternary_ct", "wide", ternary, "compressed-tensors", kSums},
      {"ternary_groups_ct_qwen2", "qwen2", ternary64, "compressed-tensors", kSums},
      {"int4_ct_qwen3", "qwen3", int4, "compressed-tensors", kSums},
      // Of zero points transformers reads none that are packed (compressed-tensors 0.12 to 0.20).
      {"uint4_ct", "wide", uint4, "compressed-tensors", ""},
      {"int8_ct", "wide", int8, "compressed-tensors", kSums},
      // Its scale of int8 activations is max / 127.5 where training takes max / 127: other logits.
      {"w4a8_ct", "wide", with_tokens(int4), "compressed-tensors", ""},
      {"ternary_stories_ct", "stories260K", ternary, "compressed-tensors", kSums},
      {"bitnet", "wide", with_tokens(ternary), "hf-bitnet", kTies},
      {"bitnet_stories", "stories260K", with_tokens(ternary), "hf-bitnet", kTies},
      {"uint2_gptq", "wide", uint2, "gptq", ""},
      {"uint4_gptq", "wide", uint4, "gptq", ""},
  };
}

class PackedExports : public tests::Peers, public testing::WithParamInterface<Way> {
 protected:
  void sterna(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "sterna");
    std::ostringstream out;
    ASSERT_EQ(run_program(arguments, {out, out}), kDone) << out.str();
  }

  /// Where the model is; writes it where it is one of ours.
  std::string model() {
    const std::string name = GetParam().model;
    if (name == "stories260K")
      return (tests::data_dir() / "stories260K/hf").string();
    if (name == "wide") {
      tests::TinyModel shape;
      shape.width = 512;
      shape.inner = 1024;
      shape.heads = shape.kv_heads = 8;
      tests::write_tiny_model(folder_ / "model", shape);
    } else {
      tests::write_tiny_family(folder_ / "model", name);
    }
    return path("model");
  }
};

TEST_P(PackedExports, AreUnpackedBitForBitAndGiveTheSameLogits) {
  const Way& way = GetParam();
  if (std::string(way.model) == "stories260K" &&
      !std::filesystem::exists(tests::data_dir() / "stories260K/hf"))
    GTEST_SKIP() << "needs the reference data: STERNA_DATA";
  std::vector<std::string> quantize{"quantize", model(), "--out", path("quantized")};
  quantize.insert(quantize.end(), way.recipe.begin(), way.recipe.end());
  ASSERT_NO_FATAL_FAILURE(sterna(quantize));
  ASSERT_NO_FATAL_FAILURE(
      sterna({"export", path("quantized"), "--format", way.format, "--out", path("packed")}));
  ASSERT_NO_FATAL_FAILURE(sterna({"export",
                                  path("quantized"),
                                  "--format",
                                  "dense",
                                  "--dtype",
                                  "fp32",
                                  "export.format.activations=drop",
                                  "--out",
                                  path("dense")}));
  ASSERT_NO_FATAL_FAILURE(sterna({"verify", path("packed"), "--against", path("quantized")}));
  ASSERT_NO_FATAL_FAILURE(python("scripts/peers/check_packed.py", {path("packed"), path("dense")}));
  EXPECT_NE(output_.find("bit for bit"), std::string::npos) << output_;
  if (way.tolerance.empty())
    return;
  ASSERT_NO_FATAL_FAILURE(
      python("scripts/peers/expected.py", {path("packed"), folder_.path().string()}));
  ASSERT_NO_FATAL_FAILURE(sterna({"verify",
                                  path("packed"),
                                  "--expected",
                                  path("expected.safetensors"),
                                  "--tolerance",
                                  way.tolerance}));
}

INSTANTIATE_TEST_SUITE_P(Each, PackedExports, testing::ValuesIn(ways()), [](const auto& one) {
  return std::string(one.param.name);
});

}  // namespace
}  // namespace sterna::cli
