// The program itself, killed and continued: its weights are those of a run that nobody touched.
#include <map>
#include <random>

#include "tests/run/train_fixture.h"
#include "tests/support/event_file.h"

namespace sterna::tests {
namespace {

const std::vector<std::string> kLearned{
    "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
    "blockwise.samples=8",
    "blockwise.batch=2",
    "blockwise.checkpoint_every=1"};

TEST_F(Training, KilledFiveTimesGivesTheWeightsOfTheStraightRun) {
  ASSERT_EQ(train("straight", kLearned), 0) << output_;
  std::mt19937 random(20261121);
  std::vector<int> delays;
  for (int i = 0; i < 5; ++i)
    delays.push_back(static_cast<int>(100 + random() % 900));
  train_with_kills("killed", kLearned, delays);
  const std::string wanted = hashes("straight", "step-40");
  ASSERT_NE(wanted.find("quant"), std::string::npos);
  EXPECT_EQ(hashes("killed", "step-40"), wanted);
  // Every step is in the log once, whatever was done twice.
  std::istringstream log(io::read_text(run_folder("killed") / "log.jsonl"));
  int64_t next = 1;
  for (std::string line; std::getline(log, line);) {
    const auto entry = nlohmann::json::parse(line);
    if (entry.at("stage") == "train") {
      EXPECT_EQ(entry.at("step").get<int64_t>(), next++);
    }
  }
  EXPECT_EQ(next, 41);
}

TEST_F(Training, ATornCheckpointIsNamedAndTheOneBeforeUsed) {
  ASSERT_EQ(train("straight"), 0) << output_;
  ASSERT_EQ(train("torn", {"train.keep_last=3"}), 0) << output_;
  const auto folder = run_folder("torn") / "checkpoints";
  const auto master = folder / "step-40" / "master.safetensors";
  {
    std::fstream file(master, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const auto last = static_cast<char>(file.get());
    file.seekp(-1, std::ios::end);
    file.put(static_cast<char>(last ^ 1));
  }
  std::filesystem::remove(folder / "step-35" / "manifest.json");
  ASSERT_EQ(train("torn", {"--resume", "train.keep_last=3"}), 0) << output_;
  EXPECT_NE(output_.find("WARNING"), std::string::npos) << output_;
  EXPECT_NE(output_.find("master.safetensors"), std::string::npos) << output_;
  EXPECT_NE(output_.find("step-30"), std::string::npos) << output_;
  EXPECT_EQ(hashes("torn", "step-40"), hashes("straight", "step-40"));
}

TEST_F(Training, FallingBackTakesBackWhatWasLoggedAndEvaluatedBehindTheCheckpoint) {
  write_text_file(folder_.path() / "held.txt", tiny_text(20, 99));
  const std::vector<std::string> more{"eval.text=" + (folder_.path() / "held.txt").string(),
                                      "eval.window=32",
                                      "eval.every=8",
                                      "train.keep_last=3",
                                      "train.keep_best=false"};
  ASSERT_EQ(train("run", more), 0) << output_;
  const auto folder = run_folder("run");
  for (const char* torn : {"step-40", "step-35"})
    std::filesystem::remove(folder / "checkpoints" / torn / "manifest.json");
  std::vector<std::string> again = more;
  again.insert(again.end(), {"--resume", "train.steps=31"});
  ASSERT_EQ(train("run", again), 0) << output_;
  const auto evaluated = [&](const std::string& cell) {
    return std::filesystem::exists(folder / "eval" / (cell + ".held.txt.json"));
  };
  EXPECT_TRUE(evaluated("step-24"));
  EXPECT_TRUE(evaluated("step-31"));
  EXPECT_FALSE(evaluated("step-32"));
  EXPECT_FALSE(evaluated("step-40"));

  size_t raw = 0;
  const std::vector<Event> shown = shown_events(folder / "tensorboard", raw);
  std::map<int64_t, int> losses;
  for (const Event& event : shown)
    losses[event.step] += static_cast<int>(event.scalars.count("loss"));
  EXPECT_EQ(losses.rbegin()->first, 31) << "steps 32 to 40 are no more";
  for (int64_t step = 1; step <= 31; ++step)
    EXPECT_EQ(losses[step], 1) << step;
  EXPECT_LT(shown.size(), raw) << "nothing was there to be taken back";
}

TEST_F(Training, ResumeRefusesChangedKeysWithBothValues) {
  ASSERT_EQ(train("run", {"train.steps=4"}), 0) << output_;
  EXPECT_EQ(train("run", {"train.steps=4", "train.lr=0.5", "--resume"}), 2);
  EXPECT_NE(output_.find("train.lr was 0.002, now 0.5"), std::string::npos) << output_;
  EXPECT_EQ(train("run", {"train.steps=4"}), 2) << "a run folder is not overwritten";
  EXPECT_NE(output_.find("--resume"), std::string::npos) << output_;
  // More steps are the same run, longer.
  EXPECT_EQ(train("run", {"train.steps=6", "--resume"}), 0) << output_;
}

TEST_F(Training, ResumeRefusesOtherDataUnderTheSamePath) {
  ASSERT_EQ(train("run", {"train.steps=4"}), 0) << output_;
  write_text_file(folder_.path() / "text.txt", tiny_text(301));
  EXPECT_EQ(train("run", {"train.steps=6", "--resume"}), 2);
  EXPECT_NE(output_.find("its data is no longer what it was"), std::string::npos) << output_;
}

TEST_F(Training, ATornCheckpointDoesNotPushOutAGoodOne) {
  ASSERT_EQ(train("torn", {"train.steps=10", "train.keep_last=2"}), 0) << output_;
  std::filesystem::remove(run_folder("torn") / "checkpoints" / "step-10" / "manifest.json");
  ASSERT_EQ(train("torn",
                  {"train.steps=8", "train.keep_last=1", "train.checkpoint_every=100", "--resume"}),
            0)
      << output_;
  std::vector<std::string> left = checkpoints("torn");
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"step-8", "torn-step-10"})) << output_;
}

TEST_F(Training, ATypoInFreezeIsRefused) {
  EXPECT_EQ(train("typo", {"train.freeze=[\"model.embed_token\"]"}), 2);
  EXPECT_NE(output_.find("'model.embed_token' matches no parameter"), std::string::npos) << output_;
  EXPECT_FALSE(std::filesystem::exists(run_folder("typo") / "recipe.toml"));
}

TEST_F(Training, AStopDuringTheLastEvaluationLosesNothingAndIsMadeUpFor) {
  const std::vector<std::string> more{"train.steps=3",
                                      "eval.text=" + (folder_.path() / "text.txt").string(),
                                      "eval.window=8",
                                      "eval.before=false",
                                      "train.checkpoint_every=0"};
  ASSERT_EQ(train("run", more), 0) << output_;
  const std::string finished = hashes("run", "step-3");
  std::filesystem::remove(run_folder("run") / "eval" / "step-3.text.txt.json");
  std::vector<std::string> again = more;
  again.push_back("--resume");
  ASSERT_EQ(train("run", again), 0) << output_;
  EXPECT_TRUE(std::filesystem::exists(run_folder("run") / "eval" / "step-3.text.txt.json"));
  EXPECT_EQ(hashes("run", "step-3"), finished);
}

TEST_F(Training, TwoProcessesCannotTrainInOneFolder) {
  Program first(arguments("shared", {"train.steps=100000"}), folder_.path() / "first.txt");
  ASSERT_TRUE(first.says("step 1/")) << first.output();
  EXPECT_EQ(train("shared", {"--resume"}), 2);
  EXPECT_NE(output_.find("trains in this folder"), std::string::npos) << output_;
}

TEST_F(Training, InfiniteWeightsStopTheRunAndNameATensor) {
  EXPECT_EQ(train("bad",
                  {"train.lr=1e3",
                   "train.clip=0",
                   "train.weight_decay=1e3",
                   "train.max_bad_steps=3",
                   "train.warmup=0",
                   "train.steps=100",
                   "train.schedule=constant"}),
            2);
  EXPECT_NE(output_.find("3 steps in a row had NaN or Inf"), std::string::npos) << output_;
  EXPECT_NE(output_.find("model.layers."), std::string::npos) << output_;
}

TEST_F(Training, EvaluatesBeforeOnTheWayAndBehind) {
  write_text_file(folder_.path() / "held.txt", tiny_text(20, 99));
  ASSERT_EQ(train("evaluated",
                  {"eval.text=" + (folder_.path() / "held.txt").string(),
                   "eval.window=32",
                   "eval.every=8",
                   "train.checkpoint_every=0"}),
            0)
      << output_;
  for (const char* cell : {"full-precision", "ptq", "step-8", "step-16", "step-32", "step-40"})
    EXPECT_TRUE(std::filesystem::exists(run_folder("evaluated") / "eval" /
                                        (std::string(cell) + ".held.txt.json")))
        << cell;
  const auto ppl = [&](const std::string& cell) {
    return nlohmann::json::parse(
               io::read_text(run_folder("evaluated") / "eval" / (cell + ".held.txt.json")))
        .at("ppl")
        .get<double>();
  };
  EXPECT_LT(ppl("full-precision"), 1e6);
  EXPECT_LT(ppl("step-40"), ppl("ptq"));
}

}  // namespace
}  // namespace sterna::tests
