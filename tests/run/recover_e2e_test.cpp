// What a resumed run makes of damage, of changed inputs and of what it was stopped in.
#include <set>

#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Recovery : public Training {
 protected:
  fs::path checkpoint(const std::string& run, const std::string& name) const {
    return run_folder(run) / "checkpoints" / name;
  }

  std::set<std::string> names(const std::string& run) const {
    const std::vector<std::string> all = checkpoints(run);
    return {all.begin(), all.end()};
  }

  static void damage(const fs::path& file) {
    std::string bytes = io::read_text(file);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_text_file(file, bytes);
  }

  template <class Change>
  static void edit(const fs::path& file, const Change& change) {
    json root = json::parse(io::read_text(file));
    change(root);
    write_text_file(file, root.dump());
  }

  bool says(const std::string& text) const { return output_.find(text) != std::string::npos; }

  /// Keys that let a run be evaluated on text.txt.
  std::vector<std::string> evaluated(std::vector<std::string> more) const {
    more.insert(more.begin(),
                {"eval.text=" + (folder_.path() / "text.txt").string(),
                 "eval.window=16",
                 "eval.max_windows=4"});
    return more;
  }

  fs::path cell(const std::string& run, const std::string& name) const {
    return run_folder(run) / "eval" / (name + ".text.txt.json");
  }

  double ppl(const std::string& run, const std::string& name) const {
    return json::parse(io::read_text(cell(run, name))).at("ppl").get<double>();
  }
};

TEST_F(Recovery, WhereNoCheckpointHoldsAllAreSetAsideAndTheNewOnesStay) {
  ASSERT_EQ(train("r", {"train.steps=10"}), 0) << output_;
  damage(checkpoint("r", "step-10") / "master.safetensors");
  fs::remove(checkpoint("r", "step-5") / "manifest.json");
  ASSERT_EQ(train("r", {"train.steps=8", "train.checkpoint_every=2", "--resume"}), 0) << output_;
  for (const char* name : {"step-10", "step-5"})
    EXPECT_TRUE(says("set aside as " + checkpoint("r", std::string("torn-") + name).string()))
        << output_;
  EXPECT_TRUE(says("no checkpoint of this run holds: it starts anew")) << output_;
  EXPECT_EQ(names("r"), (std::set<std::string>{"step-6", "step-8", "torn-step-10", "torn-step-5"}));
  EXPECT_TRUE(fs::exists(checkpoint("r", "torn-step-10") / "master.safetensors"));
  // A second one of a name that is taken.
  damage(checkpoint("r", "step-8") / "master.safetensors");
  fs::copy(checkpoint("r", "torn-step-10"), checkpoint("r", "torn-step-8"));
  ASSERT_EQ(train("r", {"train.steps=8", "--resume"}), 0) << output_;
  EXPECT_TRUE(names("r").count("torn-step-8.2") == 1) << output_;
}

TEST_F(Recovery, AManifestThatLacksAKeyIsADamagedCheckpoint) {
  for (const char* pointer : {"/hashes/data", "/state/applied", "/stage"}) {
    const std::string run = "r" + fs::path(pointer).filename().string();
    ASSERT_EQ(train(run, {"train.steps=10"}), 0) << output_;
    edit(checkpoint(run, "step-10") / "manifest.json", [&](json& root) {
      root.erase("sha256");
      root = root.patch(json::array({{{"op", "remove"}, {"path", pointer}}}));
    });
    EXPECT_EQ(train(run, {"train.steps=10", "--resume"}), 0) << output_;
    EXPECT_TRUE(says("not a manifest of format 1")) << output_;
    EXPECT_TRUE(says("from step-5")) << output_;
  }
}

TEST_F(Recovery, OtherWeightsUnderTheSamePathAreRefused) {
  write_tiny_model(folder_.path() / "teacher", {.seed = 8});
  const std::string teacher = "teacher.path=" + (folder_.path() / "teacher").string();
  ASSERT_EQ(train("r", {"train.steps=5", teacher}), 0) << output_;
  const auto resume = [&] { return train("r", {"train.steps=6", teacher, "--resume"}); };
  damage(folder_.path() / "teacher/model.safetensors");
  EXPECT_EQ(resume(), 2) << output_;
  EXPECT_TRUE(says("its teacher is no longer what it was")) << output_;
  damage(folder_.path() / "teacher/model.safetensors");  // and back
  damage(folder_.path() / "model/model.safetensors");
  EXPECT_EQ(resume(), 2) << output_;
  EXPECT_TRUE(says("its source is no longer what it was")) << output_;
  // A manifest of before they were hashed.
  edit(checkpoint("r", "step-5") / "manifest.json", [](json& root) {
    root.erase("sha256");
    root.at("hashes").erase("source");
    root.at("hashes").erase("teacher");
  });
  EXPECT_EQ(resume(), 0) << output_;
}

TEST_F(Recovery, TheFoldersRecipeIsTheOneThatTheRunWentOnWith) {
  ASSERT_EQ(train("r", {"train.steps=2"}), 0) << output_;
  ASSERT_EQ(train("r", evaluated({"train.steps=3", "--resume"})), 0) << output_;
  const std::string recipe = io::read_text(run_folder("r") / "recipe.toml");
  EXPECT_NE(recipe.find("\nsteps = 3\n"), std::string::npos) << recipe;
  EXPECT_NE(recipe.find("text.txt\"]\n"), std::string::npos) << recipe;
}

TEST_F(Recovery, EvaluationsThatAreMissingAreMadeUpForByTheModelsThatTheyAreOf) {
  const std::vector<std::string> straight = evaluated({"train.steps=8", "eval.every=5"});
  ASSERT_EQ(train("straight", straight), 0) << output_;
  ASSERT_EQ(train("r", {"train.steps=5"}), 0) << output_;
  std::vector<std::string> more = straight;
  more.push_back("--resume");
  ASSERT_EQ(train("r", more), 0) << output_;
  for (const char* name : {"full-precision", "ptq", "step-5", "step-8"}) {
    ASSERT_TRUE(fs::exists(cell("r", name))) << name << "\n" << output_;
    EXPECT_EQ(ppl("r", name), ppl("straight", name)) << name;
  }
  EXPECT_EQ(hashes("r", "step-8"), hashes("straight", "step-8"));
}

TEST_F(Recovery, TheBestStepIsRememberedThoughItsManifestIsOlderThanItsEvaluation) {
  ASSERT_EQ(train("r", evaluated({"train.steps=4"})), 0) << output_;
  edit(cell("r", "step-4"), [](json& root) { root.at("ppl") = 1.5; });
  ASSERT_EQ(train("r", evaluated({"train.steps=12", "train.keep_last=1", "--resume"})), 0)
      << output_;
  EXPECT_EQ(names("r"), (std::set<std::string>{"step-12", "step-4"})) << output_;
  const json state =
      json::parse(io::read_text(checkpoint("r", "step-12") / "manifest.json")).at("state");
  EXPECT_EQ(state.at("best"), 1.5);
  EXPECT_EQ(state.at("best_step"), 4);
}

TEST_F(Recovery, PerplexitiesOfOtherEvalSettingsAreNotCompared) {
  ASSERT_EQ(train("r", evaluated({"train.steps=8", "eval.every=4"})), 0) << output_;
  // By the old windows nothing will ever be better than step 4.
  edit(cell("r", "step-4"), [](json& root) { root.at("ppl") = 1.5; });
  std::vector<std::string> more =
      evaluated({"train.steps=10", "train.keep_last=1", "train.checkpoint_every=0", "--resume"});
  std::replace(
      more.begin(), more.end(), std::string("eval.window=16"), std::string("eval.window=8"));
  ASSERT_EQ(train("r", more), 0) << output_;
  EXPECT_TRUE(says("perplexities from before do not compare")) << output_;
  const json state =
      json::parse(io::read_text(checkpoint("r", "step-10") / "manifest.json")).at("state");
  EXPECT_EQ(state.at("best"), 0) << "it was saved before it was evaluated";
  // The models at hand are measured anew, the others are marked.
  for (const char* name : {"full-precision", "ptq", "step-10"})
    EXPECT_EQ(json::parse(io::read_text(cell("r", name))).at("window"), 8) << name;
  const std::string table = io::read_text(run_folder("r") / "summary.txt");
  EXPECT_NE(table.find("1.5*"), std::string::npos) << table;
  EXPECT_NE(table.find("* measured with other eval settings"), std::string::npos) << table;
  // The next resume compares what compares.
  std::replace(
      more.begin(), more.end(), std::string("train.steps=10"), std::string("train.steps=12"));
  ASSERT_EQ(train("r", more), 0) << output_;
  const json later =
      json::parse(io::read_text(checkpoint("r", "step-12") / "manifest.json")).at("state");
  EXPECT_EQ(later.at("best_step"), 10);
  EXPECT_EQ(later.at("best"), ppl("r", "step-10"));
}

TEST_F(Recovery, TheBestCheckpointOnTheWayIsKept) {
  // The rate climbs until it spoils what the first steps have learned.
  ASSERT_EQ(train("r",
                  evaluated({"train.lr=1",
                             "train.clip=0",
                             "train.warmup=40",
                             "train.steps=40",
                             "eval.every=4",
                             "train.checkpoint_every=0",
                             "train.keep_last=1"})),
            0)
      << output_;
  int best = 4;
  for (int step = 4; step <= 40; step += 4)
    if (ppl("r", "step-" + std::to_string(step)) < ppl("r", "step-" + std::to_string(best)))
      best = step;
  ASSERT_GT(best, 4) << "the first is no proof";
  ASSERT_LT(best, 36) << "nor are the last two";
  EXPECT_EQ(names("r"), (std::set<std::string>{"step-" + std::to_string(best), "step-40"}));
}

TEST_F(Recovery, LeftoversOfAKilledDeliveryAreSweptAndAnExportWithoutANameGetsItBack) {
  const std::vector<std::string> more = {"train.steps=2", "export.format=sterna"};
  ASSERT_EQ(train("r", more), 0) << output_;
  const fs::path exports = run_folder("r") / "export";
  fs::rename(exports / "sterna", exports / "sterna.old");
  for (const char* left : {"sterna.new", "sterna.new.tmp-77", "dense.new", "mine.tmp-77"})
    fs::create_directories(exports / left / "inside");
  ASSERT_EQ(train("r", {more[0], more[1], "--resume"}), 0) << output_;
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(exports))
    found.insert(entry.path().filename());
  EXPECT_EQ(found, (std::set<std::string>{"sterna", "mine.tmp-77"}));
  EXPECT_TRUE(fs::exists(exports / "sterna/certificate.json"));
}

}  // namespace
}  // namespace sterna::tests
