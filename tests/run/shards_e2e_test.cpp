// What the program makes of checkpoints that several ranks wrote.
#include "tests/model/reshard.h"
#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

class Shards : public Training {
 protected:
  /// Learned scales, moments and an average; all of its checkpoints stay.
  const std::vector<std::string> kinds_{
      "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
      "train.ema=0.9",
      "train.steps=20",
      "train.keep_last=9"};

  void SetUp() override {
    Training::SetUp();
    ASSERT_EQ(train("straight", kinds_), 0) << output_;
  }

  fs::path checkpoint(const std::string& run, const std::string& name) const {
    return run_folder(run) / "checkpoints" / name;
  }

  /// The straight run as it was after step 10, its last checkpoints in shards.
  void go_back(const std::string& run, int64_t ranks) {
    fs::copy(run_folder("straight"), run_folder(run), fs::copy_options::recursive);
    for (const char* later : {"step-15", "step-20"})
      fs::remove_all(checkpoint(run, later));
    for (const char* name : {"step-5", "step-10"})
      reshard(checkpoint(run, name), ranks);
  }

  int resume(const std::string& run) {
    std::vector<std::string> more = kinds_;
    more.push_back("--resume");
    return train(run, more);
  }

  int sterna(const std::vector<std::string>& words) {
    Program program(words, folder_ / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  void expect_says(const std::string& text) const {
    EXPECT_NE(output_.find(text), std::string::npos) << "'" << text << "' not in:\n" << output_;
  }
};

TEST_F(Shards, OfAnyNumberOfRanksAreGoneOnFromBitForBit) {
  for (const int64_t ranks : {2, 5}) {
    const std::string run = "of" + std::to_string(ranks);
    go_back(run, ranks);
    ASSERT_EQ(resume(run), 0) << output_;
    expect_says("from step-10");
    EXPECT_EQ(hashes(run, "step-20"), hashes("straight", "step-20")) << ranks;
  }
}

TEST_F(Shards, ThatAreTornOrMissingAreNamedAndTheCheckpointBeforeIsUsed) {
  const std::string shard = "moment2-00003-of-00004.safetensors";
  go_back("missing", 4);
  fs::remove(checkpoint("missing", "step-10") / shard);
  go_back("torn", 4);
  fs::resize_file(checkpoint("torn", "step-10") / shard, 100);
  for (const char* run : {"missing", "torn"}) {
    ASSERT_EQ(resume(run), 0) << output_;
    expect_says(std::string("WARNING: ") + (checkpoint(run, "step-10") / shard).string() +
                (run == std::string("missing") ? ": missing" : ": damaged"));
    expect_says("rank 2 of 4 wrote it: rows ");
    expect_says(" of moment2 model.");
    expect_says("set aside as " + checkpoint(run, "torn-step-10").string());
    expect_says("from step-5");
    EXPECT_EQ(hashes(run, "step-20"), hashes("straight", "step-20")) << run;
  }
}

TEST_F(Shards, AreReadByEveryVerbLikeOneFile) {
  fs::copy(run_folder("straight"), run_folder("shards"), fs::copy_options::recursive);
  reshard(checkpoint("shards", "step-20"), 4);
  ASSERT_FALSE(fs::exists(checkpoint("shards", "step-20") / "master.safetensors"));
  for (const char* run : {"straight", "shards"}) {
    const std::string out = (folder_ / run).string();
    const std::string folder = run_folder(run).string();
    ASSERT_EQ(sterna({"export", folder, "--format", "sterna", "--out", out}), 0) << output_;
    EXPECT_EQ(sterna({"verify", out, "--against", folder}), 0) << output_;
    EXPECT_EQ(sterna({"eval",
                      folder,
                      "eval.text=" + (folder_ / "text.txt").string(),
                      "eval.window=16",
                      "eval.max_windows=4",
                      "--json",
                      out + ".json"}),
              0)
        << output_;
    ASSERT_EQ(sterna({"generate", folder, "--prompt", "the ", "--max-new", "8"}), 0) << output_;
  }
  const std::string file = "sterna.safetensors";
  EXPECT_EQ(io::sha256_of_file(folder_ / "shards" / file),
            io::sha256_of_file(folder_ / "straight" / file));
  const auto ppl = [&](const char* run) {
    return nlohmann::json::parse(io::read_text(folder_ / (std::string(run) + ".json")))
        .at("ppl")
        .get<double>();
  };
  EXPECT_EQ(ppl("shards"), ppl("straight"));
}

}  // namespace
}  // namespace sterna::tests
