// A file of no bytes, as a crash or a full disk leaves it, in the place of every file that a verb
// reads: either it is named, with exit code 2, or it is made anew.
#include <functional>

#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

class EmptyFiles : public tests::Verbs {
 protected:
  static void empty(const fs::path& file) {
    ASSERT_TRUE(fs::exists(file)) << file;
    fs::resize_file(file, 0);
  }

  /// The verb ends with 2 and names the file, for any of these calls.
  void expect_named(const fs::path& file, const std::vector<Words>& calls) {
    ASSERT_NO_FATAL_FAILURE(empty(file));
    for (const Words& call : calls) {
      EXPECT_EQ(sterna(call), kUserError) << call[0] << " with an empty " << file << "\n" << err_;
      EXPECT_HAS(err_, file.string());
      EXPECT_TRUE(err_.find("error of the program") == std::string::npos) << err_;
    }
  }

  std::vector<Words> readers_of(const std::string& checkpoint) const {
    return {{"generate", checkpoint, "--prompt", "a", "--max-new", "1"},
            {"eval", checkpoint, "eval.text=" + path("text.txt"), "eval.window=16"},
            {"export", checkpoint, "--out", path("never")},
            {"quantize", checkpoint, "--out", path("never"), "quant.weight=absmean"}};
  }
};

TEST_F(EmptyFiles, OfAModelAreNamedByEveryVerb) {
  for (const char* part : {"model.safetensors", "config.json", "tokenizer.json"}) {
    tests::write_tiny_model(folder_ / "model");
    expect_named(folder_ / "model" / part, readers_of(path("model")));
    EXPECT_EQ(sterna(training("r")), kUserError) << part;
    EXPECT_HAS(err_, (folder_ / "model" / part).string());
  }
  EXPECT_FALSE(fs::exists(folder_ / "never"));
}

TEST_F(EmptyFiles, OfSideFilesAreNamed) {
  for (const char* part :
       {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    tests::write_tiny_model(folder_ / "model");
    tests::write_file(folder_ / "model" / part, "{}");
    expect_named(folder_ / "model" / part, {{"tokenize", path("model"), "--text", "a"}});
    fs::remove(folder_ / "model" / part);
  }
}

TEST_F(EmptyFiles, OfOneFileInPlaceOfACheckpointAreNamed) {
  for (const char* name : {"x.gguf", "x.safetensors"}) {
    tests::write_file(folder_ / name, "x");
    expect_named(folder_ / name, readers_of(path(name)));
  }
  tests::write_file(folder_ / "tokenizer.model", "x");
  expect_named(folder_ / "tokenizer.model", {{"tokenize", path("tokenizer.model"), "--text", "a"}});
  tests::write_file(folder_ / "model/model.safetensors.index.json", "x");
  fs::remove(folder_ / "model/model.safetensors");
  expect_named(folder_ / "model/model.safetensors.index.json",
               {{"generate", path("model"), "--prompt", "a"}});
}

TEST_F(EmptyFiles, OfTextsAreNamed) {
  tests::write_file(folder_ / "e.txt", "x");
  expect_named(folder_ / "e.txt",
               {{"eval", path("model"), "eval.text=" + path("e.txt"), "eval.window=16"}});
  EXPECT_EQ(sterna(training("r", {"data.text=" + path("e.txt")})), kUserError);
  EXPECT_HAS(err_, "data.text");
  EXPECT_EQ(sterna(training("r", {"data.text=" + path("e.txt"), "data.format=tokens"})),
            kUserError);
  EXPECT_HAS(err_, path("e.txt"));
}

TEST_F(EmptyFiles, AnEmptyRecipeIsToldWhatItLacks) {
  tests::write_file(folder_ / "e.toml", "");
  EXPECT_EQ(sterna({"train", path("e.toml")}), kUserError);
  EXPECT_HAS(err_, "model.path");
}

TEST_F(EmptyFiles, OfAnExportAreNamed) {
  ASSERT_EQ(sterna({"quantize", path("model"), "--out", path("whole"), "quant.weight=absmean"}),
            kDone)
      << err_;
  for (const char* part : {"sterna.json", "sterna.safetensors", "config.json", "SHA256SUMS"}) {
    const fs::path copy = folder_ / ("without-" + std::string(part));
    fs::copy(folder_ / "whole", copy);
    expect_named(copy / part, {{"generate", copy.string(), "--prompt", "a"}});
  }
}

TEST_F(EmptyFiles, OfARunAreNamedOrMadeAnew) {
  const Words more = {
      "eval.text=" + path("text.txt"), "eval.window=16", "eval.max_windows=2", "train.keep_last=5"};
  ASSERT_EQ(sterna(training("r", more)), kDone) << err_;
  const fs::path run = folder_ / "runs/r";
  Words again = training("r", more);
  again.insert(again.end(), {"--resume", "train.steps=3"});

  // The newest checkpoint is set aside with its reason, and the one before it is used.
  for (const char* part : {"manifest.json", "master.safetensors"}) {
    const fs::path newest = run / "checkpoints/step-2" / part;
    ASSERT_NO_FATAL_FAILURE(empty(newest));
    EXPECT_EQ(sterna(readers_of(newest.parent_path().string())[0]), kUserError);
    EXPECT_HAS(err_, newest.string());
    EXPECT_EQ(sterna(again), kDone) << err_;
    EXPECT_HAS(out_, "WARNING: " + newest.string());
    EXPECT_HAS(out_, "from step-1");
    fs::remove_all(run / "checkpoints/step-3");
  }
  // A log is begun anew, a token cache built anew.
  ASSERT_NO_FATAL_FAILURE(empty(run / "log.jsonl"));
  for (const auto& entry : fs::directory_iterator(folder_ / "tokens"))
    ASSERT_NO_FATAL_FAILURE(empty(entry.path()));
  EXPECT_EQ(sterna(again), kDone) << err_;
  for (const auto& entry : fs::directory_iterator(folder_ / "tokens"))
    EXPECT_GT(fs::file_size(entry.path()), 0u) << entry.path();
  // A figure is measured anew.
  const fs::path figure = run / "eval/ptq.text.txt.json";
  ASSERT_NO_FATAL_FAILURE(empty(figure));
  EXPECT_EQ(sterna(again), kDone) << err_;
  EXPECT_GT(fs::file_size(figure), 0u);
  expect_named(run / "recipe.toml", {again});
}

}  // namespace
}  // namespace sterna::cli
