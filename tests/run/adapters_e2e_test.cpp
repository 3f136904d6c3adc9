// Adapters over a frozen low-bit base by the program: trained, killed and continued, merged,
// proved.
#include <numeric>
#include <set>

#include "tests/run/train_fixture.h"
#include "trainer/model/load.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

class Adapters : public Training {
 protected:
  /// The tiny twin in place of the recipe that Training runs.
  std::vector<std::string> lora(const std::string& name,
                                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = arguments(name, more);
    all[1] = (source_dir() / "recipes/tests/lora.toml").string();
    return all;
  }

  int run(const std::vector<std::string>& words) {
    Program program(words, folder_.path() / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  std::map<std::string, at::Tensor> masters(const std::string& name, int step) const {
    const fs::path folder = run_folder(name) / "checkpoints" / ("step-" + std::to_string(step));
    return model::read_kind(folder, model::read_manifest(folder), "master");
  }
};

TEST_F(Adapters, TrainTheirMatricesAndNothingElse) {
  ASSERT_EQ(run(lora("run", {"train.keep_last=100", "train.checkpoint_every=20"})), 0) << output_;
  const auto early = masters("run", 20);
  const auto late = masters("run", 40);
  int moved = 0;
  for (const auto& [name, value] : late) {
    const bool adapter = name.find(".lora_") != std::string::npos;
    EXPECT_EQ(at::equal(value, early.at(name)), !adapter) << name;
    moved += static_cast<int>(adapter);
  }
  EXPECT_EQ(moved, 2 * 7 * 2) << "two matrices on seven layers of two blocks";
  const auto first =
      model::read_kind(run_folder("run") / "checkpoints/step-40",
                       model::read_manifest(run_folder("run") / "checkpoints/step-40"),
                       "moment1");
  EXPECT_EQ(first.size(), 2u * 7 * 2) << "only adapters have moments";
}

TEST_F(Adapters, LowerTheLossOfTheRoundedModel) {
  ASSERT_EQ(run(lora("run", {"train.log_every=1"})), 0) << output_;
  std::istringstream log(io::read_text(run_folder("run") / "log.jsonl"));
  std::vector<double> losses;
  for (std::string line; std::getline(log, line);)
    losses.push_back(nlohmann::json::parse(line).at("loss").get<double>());
  ASSERT_EQ(losses.size(), 40u);
  const auto mean = [&](size_t first) {
    return std::accumulate(losses.begin() + first, losses.begin() + first + 8, 0.0) / 8;
  };
  EXPECT_LT(mean(32), 0.9 * mean(0));
}

TEST_F(Adapters, KilledFiveTimesGiveTheMatricesOfTheStraightRun) {
  ASSERT_EQ(run(lora("straight")), 0) << output_;
  for (int i = 0; i < 5; ++i) {
    std::vector<std::string> words = lora("killed");
    if (fs::exists(run_folder("killed") / "recipe.toml"))
      words.push_back("--resume");
    Program program(words, folder_.path() / "output.txt");
    std::this_thread::sleep_for(std::chrono::milliseconds(150 + 130 * i));
    program.signal(SIGKILL);
    program.wait();
  }
  std::vector<std::string> words = lora("killed");
  if (fs::exists(run_folder("killed") / "recipe.toml"))
    words.push_back("--resume");
  ASSERT_EQ(run(words), 0) << output_;
  EXPECT_EQ(hashes("killed", "step-40"), hashes("straight", "step-40"));
}

TEST_F(Adapters, AreMergedIntoADenseExportThatIsProved) {
  ASSERT_EQ(run(lora("run")), 0) << output_;
  const std::string out = (folder_.path() / "dense").string();
  ASSERT_EQ(run({"export",
                 run_folder("run").string(),
                 "--format",
                 "dense",
                 "--dtype",
                 "fp32",
                 "--out",
                 out}),
            0)
      << output_;
  ASSERT_EQ(run({"verify", out, "--against", run_folder("run").string()}), 0) << output_;
  const auto exported = model::read_weights(model::inspect(out)).tensors;
  const auto trained = masters("run", 40);
  const std::string module = "model.layers.0.mlp.up_proj";
  // scale = alpha / rank = 8 / 4
  const at::Tensor delta =
      2 * at::mm(trained.at(module + ".lora_B.weight"), trained.at(module + ".lora_A.weight"));
  EXPECT_EQ(exported.count(module + ".lora_A.weight"), 0u);
  const at::Tensor base = exported.at(module + ".weight") - delta;
  for (int64_t row = 0; row < base.size(0); ++row) {
    // What is left of each group of 16 is the frozen base: at most four levels.
    const auto group = base[row].narrow(0, 0, 16).contiguous();
    std::set<int64_t> levels;
    for (int64_t i = 0; i < 16; ++i)
      levels.insert(std::llround(group[i].item<double>() * 1e5));
    std::set<int64_t> apart;
    for (const int64_t level : levels)
      if (apart.empty() || level - *apart.rbegin() > 2)
        apart.insert(level);
    EXPECT_LE(apart.size(), 4u) << row;
  }
}

TEST_F(Adapters, AreRefusedByALayoutOfCodesBeforeAndBehindTraining) {
  EXPECT_EQ(run(lora("early", {"export.format=sterna"})), 2);
  EXPECT_NE(output_.find("'export.format'"), std::string::npos) << output_;
  EXPECT_NE(output_.find("dense"), std::string::npos) << output_;
  ASSERT_EQ(run(lora("run", {"train.steps=2"})), 0) << output_;
  EXPECT_EQ(run({"export",
                 run_folder("run").string(),
                 "--format",
                 "sterna",
                 "--out",
                 (folder_.path() / "packed").string()}),
            2);
  EXPECT_NE(output_.find("tensor 'model.layers.0.mlp.down_proj.weight'"), std::string::npos)
      << output_;
  EXPECT_FALSE(fs::exists(folder_.path() / "packed"));
}

TEST_F(Adapters, ThatCannotFitAreNamedBeforeAnythingIsWritten) {
  EXPECT_EQ(run(lora("rank", {"adapter.method.rank=5000"})), 2);
  EXPECT_NE(output_.find("model.layers.0.self_attn.q_proj"), std::string::npos) << output_;
  EXPECT_EQ(run(lora("only", {"train.only=quant"})), 2);
  EXPECT_NE(output_.find("train.only"), std::string::npos) << output_;
  EXPECT_FALSE(fs::exists(run_folder("rank")));
}

TEST_F(Adapters, AreCountedByCheck) {
  std::vector<std::string> words = lora("run");
  words[0] = "check";
  ASSERT_EQ(run(words), 0) << output_;
  EXPECT_NE(output_.find("adapters: 14 linear layers"), std::string::npos) << output_;
}

}  // namespace
}  // namespace sterna::tests
