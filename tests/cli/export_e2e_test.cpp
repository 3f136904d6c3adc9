// From a real run to a certified export, by the program's own verbs.
#include <sstream>

#include <gtest/gtest.h>

#include "tests/io/support.h"
#include "tests/support/paths.h"
#include "tests/support/tiny_model.h"
#include "trainer/cli/command.h"
#include "trainer/cli/verify_against.h"

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
    return verify_against(folder_ / folder, run_, {out_, out_});
  }
  void train(const fs::path& model) {
    tests::write_file(folder_ / "text.txt", tests::tiny_text(400));
    const std::string recipe = (tests::source_dir() / "recipes/tests/tiny_kl.toml").string();
    ASSERT_EQ(sterna({"train",
                      recipe,
                      "run.dir=" + (folder_ / "runs").string(),
                      "run.name=r",
                      "model.path=" + model.string(),
                      "data.text=" + (folder_ / "text.txt").string(),
                      "train.steps=2"}),
              kDone)
        << out_.str();
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
    EXPECT_TRUE(fs::exists(folder_ / format / "certificate.json"));
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

}  // namespace
}  // namespace sterna::cli
