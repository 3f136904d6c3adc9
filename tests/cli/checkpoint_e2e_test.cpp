// What a CHECKPOINT argument may be, and what is said where it is not whole.
#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;
using tests::read_file;

class CheckpointArgument : public tests::Verbs {
 protected:
  void SetUp() override {
    Verbs::SetUp();
    ASSERT_EQ(sterna(training("r")), kDone) << err_;
  }

  fs::path checkpoint(int64_t step) const {
    return folder_ / ("runs/r/checkpoints/step-" + std::to_string(step));
  }

  /// Every verb that takes a checkpoint, on this one.
  std::vector<std::vector<std::string>> verbs_on(const std::string& argument) const {
    static int made = 0;
    const std::string out = path("out" + std::to_string(++made));
    const std::string text = path("text.txt");
    return {{"eval", argument, "eval.text=" + text, "eval.window=16", "eval.max_windows=1"},
            {"generate", argument, "--prompt", "a", "--max-new", "1"},
            {"export", argument, "--out", out},
            {"verify", out, "--against", argument},
            {"quantize", argument, "--out", out + "q", "quant.weight={name='minmax_sym', group=0}"},
            {"tokenize", argument, "--text", "a"},
            training("of_" + fs::path(out).filename().string(), {"model.path=" + argument})};
  }
};

TEST_F(CheckpointArgument, ARunFolderAndEachOfItsCheckpointsServeEveryVerb) {
  for (const std::string& argument : {path("runs/r"), checkpoint(1).string()}) {
    for (const auto& verb : verbs_on(argument)) {
      EXPECT_EQ(sterna(verb), kDone) << verb.front() << " " << argument << ": " << err_;
      EXPECT_EQ((out_ + err_).find("WARNING"), std::string::npos) << verb.front() << out_ << err_;
    }
  }
}

TEST_F(CheckpointArgument, ADamagedOneGivenDirectlyIsRefusedWithFileAndCheck) {
  damage(checkpoint(2) / "master.safetensors");
  fs::remove(checkpoint(1) / "manifest.json");
  for (const auto& verb : verbs_on(checkpoint(2).string())) {
    EXPECT_EQ(sterna(verb), kUserError) << verb.front();
    if (verb.front() == "verify")
      continue;  // there is no export to verify
    EXPECT_HAS(err_, (checkpoint(2) / "master.safetensors").string() + ": damaged: SHA-256 is ");
    EXPECT_HAS(err_, "give the run's folder");
  }
  EXPECT_EQ(sterna({"generate", checkpoint(1).string(), "--prompt", "a"}), kUserError);
  EXPECT_HAS(err_, "no manifest.json: this checkpoint was never completed; use another");
}

TEST_F(CheckpointArgument, ARunFolderThatFallsBackSaysSoInEveryVerb) {
  damage(checkpoint(2) / "buffer.safetensors");
  for (const auto& verb : verbs_on(path("runs/r"))) {
    EXPECT_EQ(sterna(verb), kDone) << verb.front() << ": " << err_;
    const std::string& said = verb.front() == "train" ? out_ : err_;
    EXPECT_HAS(said, "WARNING: " + (checkpoint(2) / "buffer.safetensors").string() + ": damaged");
    EXPECT_HAS(said, "falling back to " + checkpoint(1).string());
  }
}

TEST_F(CheckpointArgument, WhereTheRunsStartMovedAwayTheRemedyIsNamed) {
  fs::rename(folder_ / "model", folder_ / "elsewhere");
  EXPECT_EQ(sterna({"generate", path("runs/r"), "--prompt", "a"}), kUserError);
  EXPECT_HAS(err_, path("model") + ", and nothing is there any more; put it back there");
  const fs::path manifest = checkpoint(2) / "manifest.json";
  EXPECT_HAS(err_, manifest.string());
  // The remedy works as printed.
  auto json = nlohmann::json::parse(read_file(manifest));
  json.at("source") = path("elsewhere");
  tests::write_file(manifest, json.dump());
  EXPECT_EQ(sterna({"generate", path("runs/r"), "--prompt", "a", "--max-new", "1"}), kDone) << err_;
  fs::remove(folder_ / "elsewhere/config.json");
  EXPECT_EQ(sterna({"generate", path("runs/r"), "--prompt", "a"}), kUserError);
  EXPECT_HAS(err_, "which cannot be used: " + path("elsewhere") + ": no checkpoint here");
}

TEST_F(CheckpointArgument, AnIncompleteExportIsCalledThatWithWhatIsMissing) {
  ASSERT_EQ(sterna({"export", path("runs/r"), "--out", path("whole")}), kDone) << err_;
  for (const std::string part : {"sterna.json", "sterna.safetensors", "config.json"}) {
    const fs::path copy = folder_ / ("without-" + part);
    fs::copy(folder_ / "whole", copy);
    fs::remove(copy / part);
    EXPECT_EQ(sterna({"generate", copy.string(), "--prompt", "a"}), kUserError);
    EXPECT_HAS(err_, copy.string() + ": this export is incomplete: " + part + " is not there");
  }
}

TEST_F(CheckpointArgument, ADamagedExportIsRefusedByEveryVerbWithItsFile) {
  for (const std::string format : {"sterna", "dense"}) {
    const fs::path out = folder_ / format;
    ASSERT_EQ(sterna({"export", path("runs/r"), "--format", format, "--out", out.string()}), kDone)
        << err_;
    const fs::path weights =
        out / (format == "sterna" ? "sterna.safetensors" : "model.safetensors");
    for (const fs::path& file : {weights, out / "config.json", out / "tokenizer.json"}) {
      const std::string whole = read_file(file);
      damage(file);
      for (const auto& verb : verbs_on(out.string())) {
        if (verb.front() == "verify" || verb.front() == "tokenize")
          continue;  // what is verified is another export; ids need no weights
        EXPECT_EQ(sterna(verb), kUserError) << verb.front() << " " << file;
        EXPECT_HAS(err_, file.string() + ": damaged: SHA-256 is ");
        EXPECT_HAS(err_, "copy the folder or write the export again");
      }
      tests::write_file(file, whole);
    }
    // The proof says that the answer is no, and where.
    damage(weights);
    EXPECT_EQ(sterna({"verify", out.string(), "--against", path("runs/r")}), kAnswerIsNo) << err_;
    EXPECT_HAS(out_, "differ in 1 of ");
  }
}

}  // namespace
}  // namespace sterna::cli
