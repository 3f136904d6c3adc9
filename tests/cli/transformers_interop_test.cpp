// Dense exports of every kind of source, loaded by transformers: what it computes from them is what
// we compute, and its tokenizer gives the same ids.
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/peers.h"
#include "tests/support/tiny_families.h"
#include "trainer/cli/command.h"
#include "trainer/io/json.h"

namespace sterna::cli {
namespace {

class Transformers : public tests::Peers {
 protected:
  void sterna(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "sterna");
    std::ostringstream out;
    ASSERT_EQ(run_program(arguments, {out, out}), kDone) << out.str();
  }

  /// Exports `checkpoint`, has transformers compute on the export, and compares.
  void expect_same(const std::string& checkpoint, const std::string& dtype) {
    const std::string dense = path("dense");
    ASSERT_NO_FATAL_FAILURE(
        sterna({"export", checkpoint, "--format", "dense", "--dtype", dtype, "--out", dense}));
    ASSERT_NO_FATAL_FAILURE(python("scripts/peers/expected.py", {dense, folder_.path().string()}));
    // Both compute in fp32; only the order of sums differs.
    ASSERT_NO_FATAL_FAILURE(sterna(
        {"verify", dense, "--expected", path("expected.safetensors"), "--tolerance", "1e-5"}));
    has_tokenizer_ = std::filesystem::exists(folder_ / "cases.json");
    if (has_tokenizer_) {
      ASSERT_NO_FATAL_FAILURE(sterna({"tokenize", dense, "--cases", path("cases.json")}));
    }
  }

  bool has_tokenizer_ = false;
};

TEST_F(Transformers, ComputesTheLogitsOfATrainedLowBitModelWithATiedHead) {
  tests::TinyModel shape;
  shape.tied = true;
  tests::write_tiny_model(folder_ / "model", shape);
  tests::write_text_file(folder_ / "text.txt", tests::tiny_text(300));
  ASSERT_NO_FATAL_FAILURE(sterna({"train",
                                  (tests::source_dir() / "recipes/tests/tiny_kl.toml").string(),
                                  "model.path=" + path("model"),
                                  "data.text=" + path("text.txt"),
                                  "data.cache=" + path("tokens"),
                                  "run.dir=" + path("runs"),
                                  "run.name=r",
                                  "train.steps=2"}));
  ASSERT_NO_FATAL_FAILURE(expect_same(path("runs/r"), "bf16"));
  EXPECT_TRUE(has_tokenizer_);
}

TEST_F(Transformers, ComputesTheLogitsOfAModelWithItsOwnHead) {
  tests::write_tiny_model(folder_ / "model");
  ASSERT_NO_FATAL_FAILURE(expect_same(path("model"), "fp16"));
  EXPECT_TRUE(has_tokenizer_);
}

TEST_F(Transformers, ComputesTheLogitsOfAModelWithBiasesAndScaledRope) {
  ASSERT_NO_FATAL_FAILURE(
      expect_same((tests::source_dir() / "tests/golden/tiny_llama").string(), "fp32"));
}

/// The other families, trained a little.
class TransformersFamily : public Transformers, public testing::WithParamInterface<std::string> {};

TEST_P(TransformersFamily, ComputesTheLogitsOfATrainedExport) {
  tests::write_tiny_family(folder_ / "model", GetParam());
  tests::write_text_file(folder_ / "text.txt", tests::tiny_text(300));
  ASSERT_NO_FATAL_FAILURE(sterna({"train",
                                  (tests::source_dir() / "recipes/tests/tiny_kl.toml").string(),
                                  "model.path=" + path("model"),
                                  "data.text=" + path("text.txt"),
                                  "data.cache=" + path("tokens"),
                                  "run.dir=" + path("runs"),
                                  "run.name=r",
                                  "train.freeze=[]",
                                  "train.steps=2"}));
  ASSERT_NO_FATAL_FAILURE(expect_same(path("runs/r"), "fp32"));
}

INSTANTIATE_TEST_SUITE_P(All,
                         TransformersFamily,
                         testing::ValuesIn(tests::tiny_family_names()),
                         [](const auto& one) { return one.param; });

/// Their configuration is made from the file's metadata.
class TransformersGguf : public Transformers, public testing::WithParamInterface<std::string> {};

TEST_P(TransformersGguf, ComputesTheLogitsOfAnExportOfAGguf) {
  ASSERT_NO_FATAL_FAILURE(expect_same(
      (tests::source_dir() / "tests/golden" / (GetParam() + ".gguf")).string(), "fp32"));
}

INSTANTIATE_TEST_SUITE_P(All,
                         TransformersGguf,
                         testing::Values("tiny_mistral", "tiny_qwen2", "tiny_qwen3", "tiny_gpt2"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace sterna::cli
