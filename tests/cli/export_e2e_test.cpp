// From a real run to a certified export, by the program's own verbs.
#include <sstream>

#include <gtest/gtest.h>

#include "tests/io/support.h"
#include "tests/support/paths.h"
#include "tests/support/tiny_model.h"
#include "trainer/cli/command.h"
#include "trainer/io/json.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;

class ExportOfARun : public ::testing::Test {
 protected:
  int sterna(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"sterna"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run_program(all, {out_, out_});
  }
  int verify(const std::string& folder) {
    return sterna({"verify",
                   (folder_ / folder).string(),
                   "--against",
                   run_.string(),
                   "verify.text=" + (folder_ / "text.txt").string(),
                   "verify.window=16"});
  }
  void train(const fs::path& model, const std::vector<std::string>& more = {}) {
    tests::write_file(folder_ / "text.txt", tests::tiny_text(400));
    const std::string recipe = (tests::source_dir() / "recipes/tests/tiny_kl.toml").string();
    std::vector<std::string> arguments = {"train",
                                          recipe,
                                          "run.dir=" + (folder_ / "runs").string(),
                                          "run.name=r",
                                          "model.path=" + model.string(),
                                          "data.text=" + (folder_ / "text.txt").string(),
                                          "train.steps=2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ASSERT_EQ(sterna(arguments), kDone) << out_.str();
    run_ = folder_ / "runs/r";
  }
  tests::TempFolder folder_;
  fs::path run_;
  std::ostringstream out_;
};

TEST_F(ExportOfARun, BothFormatsAreCertifiedAndOneFlippedCodeIsNamed) {
  tests::write_tiny_model(folder_ / "model");
  ASSERT_NO_FATAL_FAILURE(train(folder_ / "model"));
  for (const std::string format : {"dense", "sterna"}) {
    const std::string out = (folder_ / format).string();
    ASSERT_EQ(sterna({"export", run_.string(), "--format", format, "--out", out}), kDone)
        << out_.str();
    EXPECT_EQ(verify(format), kDone) << out_.str();
    const auto certificate = io::read_json(folder_ / format / "certificate.json");
    ASSERT_TRUE(certificate.at("kld").is_number()) << certificate.at("kld");
    // Quantized weights are the very ones; what was not quantized is rounded to bf16.
    EXPECT_LT(certificate.at("kld").get<double>(), 1e-4);
  }
  const fs::path weights = folder_ / "sterna/sterna.safetensors";
  std::string bytes = tests::read_file(weights);
  bytes[bytes.size() - 500] = static_cast<char>(bytes[bytes.size() - 500] ^ 1);
  tests::write_file(weights, bytes);
  out_.str("");
  EXPECT_EQ(verify("sterna"), kAnswerIsNo);
  EXPECT_HAS(out_.str(), "file sterna.safetensors: its SHA-256");
  EXPECT_HAS(out_.str(), "differ in 1 of ");
}

TEST_F(ExportOfARun, AWeightBeyondFp16IsRefusedByNameAndNothingIsLeft) {
  tests::write_tiny_model(folder_ / "model");
  // The last weight of the last tensor in the file.
  std::string bytes = tests::read_file(folder_ / "model/model.safetensors");
  const float big = 70000;
  std::memcpy(bytes.data() + bytes.size() - sizeof big, &big, sizeof big);
  tests::write_file(folder_ / "model/model.safetensors", bytes);
  const auto dense = [&](const std::string& dtype) {
    out_.str("");
    return sterna({"export",
                   (folder_ / "model").string(),
                   "--format",
                   "dense",
                   "--dtype",
                   dtype,
                   "--out",
                   (folder_ / dtype).string()});
  };
  EXPECT_EQ(dense("fp16"), kUserError);
  EXPECT_HAS(out_.str(), "holds values beyond fp16's 65504; export with --dtype bf16 or fp32");
  EXPECT_HAS(out_.str(), "error: tensor 'model.norm.weight'");
  for (const auto& entry : fs::directory_iterator(folder_.path()))
    EXPECT_FALSE(entry.path().filename().string().starts_with("fp16")) << entry.path();
  EXPECT_EQ(dense("bf16"), kDone) << out_.str();
}

TEST_F(ExportOfARun, IsTheLastStageOfARecipeThatNamesAFormat) {
  tests::write_tiny_model(folder_ / "model");
  ASSERT_NO_FATAL_FAILURE(train(folder_ / "model",
                                {"export.format=sterna",
                                 "eval.text=" + (folder_ / "text.txt").string(),
                                 "eval.window=16",
                                 "eval.max_windows=2",
                                 "eval.prompts=[\"a\"]",
                                 "eval.prompt_tokens=3"}));
  EXPECT_TRUE(fs::exists(run_ / "export/sterna/certificate.json"));
  EXPECT_FALSE(fs::exists(run_ / "export/sterna.new"));
  const std::string table = tests::read_file(run_ / "summary.txt");
  for (const char* stage : {"full-precision", "ptq", "step-2"})
    EXPECT_HAS(table, stage);
  const auto evaluation = io::read_json(run_ / "eval/step-2.text.txt.json");
  EXPECT_EQ(evaluation.at("samples").size(), 1u);
  EXPECT_GT(evaluation.at("bits_per_weight").get<double>(), 2.0);
  EXPECT_EQ(sterna({"verify", (run_ / "export/sterna").string(), "--against", run_.string()}),
            kDone)
      << out_.str();
  // A verb of the export and one of the run give the same ids.
  out_.str("");
  EXPECT_EQ(sterna({"tokenize", run_.string(), "--text", "a"}), kDone);
  const std::string of_run = out_.str();
  out_.str("");
  EXPECT_EQ(sterna({"tokenize", (run_ / "export/sterna").string(), "--text", "a"}), kDone);
  EXPECT_EQ(out_.str(), of_run);
}

}  // namespace
}  // namespace sterna::cli
