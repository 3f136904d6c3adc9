// Disks that are full or cannot be written, on a disk of few bytes in memory: the program says so
// with exit code 2, nothing incomplete stands under a final name, and what was saved before holds.
#include "tests/run/train_fixture.h"
#include "tests/support/small_disk.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRoomyKiB = 16 << 10;

class Disk : public Training {
 protected:
  /// Exit code of `sterna ...`; its output is kept.
  int sterna(const std::vector<std::string>& words) {
    Program program(words, folder_ / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  std::vector<std::string> training_on(const SmallDisk& disk,
                                       const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = arguments(
        "r", {"run.dir=" + disk.path().string(), "train.steps=8", "train.checkpoint_every=1"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  bool says(const std::string& text) const { return output_.find(text) != std::string::npos; }
  void expect_says(const std::string& text) const {
    EXPECT_TRUE(says(text)) << "'" << text << "' not in:\n" << output_;
  }
};

/// Every checkpoint that stands under its name is whole.
void expect_sound(const fs::path& run) {
  for (const fs::path& checkpoint : model::checkpoints_of_run(run))
    EXPECT_NO_THROW(model::verify_checkpoint(checkpoint, model::read_manifest(checkpoint)))
        << checkpoint;
}

TEST_F(Disk, ARunOnADiskThatGetsFullEndsWithAdviceAndGoesOnWhereThereIsRoomAgain) {
  ASSERT_EQ(train("straight", {"train.steps=8", "train.checkpoint_every=1"}), 0) << output_;
  const std::string wanted = hashes("straight", "step-8");
  int stopped_with_a_checkpoint = 0;
  for (const int64_t kibibytes : {8, 60, 300, 600, 900}) {
    const SmallDisk disk(kibibytes);
    STERNA_REQUIRE_DISK(disk);
    ASSERT_EQ(sterna(training_on(disk)), 2) << kibibytes << " KiB\n" << output_;
    expect_says("No space left on device");
    expect_says(disk.path().string());
    expect_says("space");
    expect_sound(disk.path() / "r");
    const bool saved = !model::checkpoints_of_run(disk.path() / "r").empty();
    stopped_with_a_checkpoint += saved ? 1 : 0;
    if (fs::exists(disk.path() / "r/checkpoints")) {
      for (const auto& entry : fs::directory_iterator(disk.path() / "r/checkpoints"))
        EXPECT_TRUE(entry.path().filename().string().starts_with("step-"))
            << entry.path() << " takes room that is needed";
    }
    ASSERT_TRUE(disk.resize(kRoomyKiB));
    const bool begun = fs::exists(disk.path() / "r/recipe.toml");
    ASSERT_EQ(sterna(training_on(
                  disk, begun ? std::vector<std::string>{"--resume"} : std::vector<std::string>{})),
              0)
        << kibibytes << " KiB\n"
        << output_;
    fs::copy(disk.path() / "r", run_folder("r"), fs::copy_options::recursive);
    EXPECT_EQ(hashes("r", "step-8"), wanted) << kibibytes << " KiB";
    fs::remove_all(run_folder("r"));
  }
  EXPECT_GE(stopped_with_a_checkpoint, 1) << "no size let a checkpoint be written before the end";
}

TEST_F(Disk, AnExportOrAQuantizedCopyThatFindsNoRoomLeavesNothing) {
  const SmallDisk disk(40);
  STERNA_REQUIRE_DISK(disk);
  const std::string model = (folder_ / "model").string();
  const std::string out = (disk.path() / "out").string();
  const std::vector<std::string> calls[] = {
      {"export", model, "--format", "dense", "--out", out},
      {"export", model, "--format", "sterna", "--out", out},
      {"quantize", model, "--out", out, "quant.weight=minmax_asym", "quant.weight.group=8"}};
  for (const std::vector<std::string>& call : calls) {
    EXPECT_EQ(sterna(call), 2) << output_;
    expect_says("No space left on device");
    expect_says("space");
    EXPECT_TRUE(fs::is_empty(disk.path())) << call[0] << " " << output_;
  }
}

TEST_F(Disk, ATokenCacheThatFindsNoRoomLeavesNothingUnderItsName) {
  const SmallDisk disk(8);
  STERNA_REQUIRE_DISK(disk);
  EXPECT_EQ(train("r", {"data.cache=" + (disk.path() / "tokens").string()}), 2) << output_;
  expect_says("No space left on device");
  expect_says("space");
  for (const auto& entry : fs::recursive_directory_iterator(disk.path()))
    EXPECT_TRUE(entry.is_directory()) << entry.path();
}

TEST_F(Disk, WhatCannotBeWrittenIsSaidAndWhatLiesThereIsStillRead) {
  const SmallDisk disk(kRoomyKiB);
  STERNA_REQUIRE_DISK(disk);
  ASSERT_EQ(sterna(training_on(disk)), 0) << output_;
  ASSERT_TRUE(disk.make_read_only());
  const std::string run = (disk.path() / "r").string();
  const std::string text = (folder_ / "text.txt").string();
  EXPECT_EQ(sterna({"eval", run, "eval.text=" + text, "eval.window=16", "eval.max_windows=2"}), 0)
      << output_;
  EXPECT_EQ(sterna({"export", run, "--out", (folder_ / "out").string()}), 0) << output_;
  const std::vector<std::string> calls[] = {
      training_on(disk, {"--resume", "train.steps=9"}),
      training_on(disk, {"run.name=other"}),
      {"export", run, "--out", (disk.path() / "out").string()},
      arguments("cached", {"data.cache=" + (disk.path() / "tokens").string()})};
  for (const std::vector<std::string>& call : calls) {
    EXPECT_EQ(sterna(call), 2) << output_;
    expect_says("Read-only file system");
    expect_says(disk.path().string());
    EXPECT_TRUE(says("writ") || says("permissions")) << "no remedy:\n" << output_;
  }
  expect_sound(run);
}

TEST_F(Disk, ARunFolderBehindASymlinkIsThatFolder) {
  fs::create_directories(folder_ / "elsewhere");
  fs::create_directories(folder_ / "runs");
  fs::create_directory_symlink(folder_ / "elsewhere", run_folder("linked"));
  ASSERT_EQ(train("linked", {"train.steps=4"}), 0) << output_;
  ASSERT_EQ(train("linked", {"train.steps=6", "--resume"}), 0) << output_;
  EXPECT_TRUE(fs::is_symlink(run_folder("linked")));
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/checkpoints/step-6/manifest.json"));
  ASSERT_EQ(train("straight", {"train.steps=6"}), 0) << output_;
  EXPECT_EQ(hashes("linked", "step-6"), hashes("straight", "step-6"));
  // Under its other name it is the same folder, held by the same lock.
  Program holder(arguments("linked", {"train.steps=100000", "--resume"}), folder_ / "holder.txt");
  ASSERT_TRUE(holder.says("step 7/")) << holder.output();
  EXPECT_EQ(sterna(arguments("elsewhere", {"run.dir=" + folder_.path().string(), "--resume"})), 2);
  expect_says("trains in this folder");
}

TEST_F(Disk, ASymlinkToNowhereIsNamed) {
  fs::create_directories(folder_ / "runs");
  fs::create_directory_symlink(folder_ / "nowhere", run_folder("dangling"));
  EXPECT_EQ(train("dangling"), 2);
  expect_says(run_folder("dangling").string() + ": cannot create the run folder");
}

TEST_F(Disk, TheHolderOfARunFolderIsNamedAndItsLockGoesWithIt) {
  Program holder(arguments("shared", {"train.steps=100000"}), folder_ / "holder.txt");
  ASSERT_TRUE(holder.says("step 1/")) << holder.output();
  EXPECT_EQ(train("shared", {"--resume"}), 2);
  const std::string number = io::read_text(run_folder("shared") / ".lock");
  expect_says("process " + number + " trains in this folder");
  EXPECT_EQ(fs::canonical("/proc/" + number + "/exe"), fs::canonical(binary_dir() / "sterna"));
  expect_says((run_folder("shared") / ".lock").string());
  holder.signal(SIGKILL);
  EXPECT_EQ(holder.wait(), 128 + SIGKILL);
  EXPECT_TRUE(fs::exists(run_folder("shared") / ".lock")) << "it is left behind";
  EXPECT_EQ(train("shared", {"--resume", "train.steps=1", "train.checkpoint_every=1"}), 0)
      << output_;
}

}  // namespace
}  // namespace sterna::tests
