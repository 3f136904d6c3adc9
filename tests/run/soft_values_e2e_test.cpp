// Schemes with a soft value by the program: trained, killed and continued, exported, proved.
#include <numeric>

#include "tests/run/train_fixture.h"
#include "trainer/model/load.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;
using Keys = std::vector<std::string>;

class Soft : public Training {
 protected:
  int run(const Keys& words) {
    Program program(words, folder_.path() / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  /// One of recipes/tests in place of the recipe that Training runs.
  int train_recipe(const std::string& recipe, const std::string& name, const Keys& more = {}) {
    Keys all = arguments(name, more);
    all[1] = (source_dir() / "recipes/tests" / recipe).string();
    return run(all);
  }

  std::vector<double> losses(const std::string& name) const {
    std::istringstream log(io::read_text(run_folder(name) / "log.jsonl"));
    std::vector<double> result;
    for (std::string line; std::getline(log, line);)
      result.push_back(nlohmann::json::parse(line).at("loss").get<double>());
    return result;
  }

  /// Mean loss of the last eight steps of 40 over that of the first eight.
  double fall(const std::string& name) const {
    const std::vector<double> all = losses(name);
    EXPECT_EQ(all.size(), 40u);
    return std::accumulate(all.end() - 8, all.end(), 0.0) /
           std::accumulate(all.begin(), all.begin() + 8, 0.0);
  }

  at::Tensor buffer(const std::string& name, int step, const std::string& tensor) const {
    const fs::path folder = run_folder(name) / "checkpoints" / ("step-" + std::to_string(step));
    return model::read_kind(folder, model::read_manifest(folder), "buffer").at(tensor);
  }
};

const std::string kMatrix = "model.layers.0.mlp.up_proj.weight";

TEST_F(Soft, DkmLowersTheLossAndCarriesItsCentroidsOn) {
  ASSERT_EQ(train_recipe("tiny_dkm.toml", "run", {"train.log_every=1", "train.keep_last=100"}), 0)
      << output_;
  EXPECT_LT(fall("run"), 0.9);
  const std::string centroids = kMatrix + ".quant.centroids";
  const at::Tensor last = buffer("run", 40, centroids);
  EXPECT_EQ(last.sizes(), (at::IntArrayRef{1, 4}));
  EXPECT_FALSE(at::equal(last, buffer("run", 5, centroids)));
}

TEST_F(Soft, DkmKilledFiveTimesGivesTheWeightsAndCentroidsOfTheStraightRun) {
  const Keys keys{"quant.weight={ name = \"dkm\", bits = 2 }",
                  "blockwise.samples=8",
                  "blockwise.batch=2",
                  "blockwise.checkpoint_every=1"};
  ASSERT_EQ(train("straight", keys), 0) << output_;
  train_with_kills("killed", keys, {150, 420, 610, 880, 1100});
  const std::string wanted = hashes("straight", "step-40");
  ASSERT_NE(wanted.find("buffer"), std::string::npos);
  EXPECT_EQ(hashes("killed", "step-40"), wanted);
}

TEST_F(Soft, DkmIsExportedAsCodesAndATableThatAreTheRunsOwn) {
  ASSERT_EQ(train_recipe("tiny_dkm.toml", "run", {"export.format=sterna"}), 0) << output_;
  const model::Weights run = model::read_weights(model::inspect(run_folder("run")));
  const fs::path folder = run_folder("run") / "export/sterna";
  EXPECT_TRUE(fs::exists(folder / "certificate.json"));
  const model::Weights exported = model::read_weights(model::inspect(folder));
  const quant::Encoded& own = run.encoded.at(kMatrix);
  const quant::Encoded& back = exported.encoded.at(kMatrix);
  EXPECT_EQ(back.grid, quant::Grid::kLevels);
  EXPECT_TRUE(at::equal(back.codes, own.codes));
  EXPECT_TRUE(at::equal(back.levels, own.levels));
  EXPECT_TRUE(at::equal(exported.tensors.at(kMatrix), quant::decode(own)));
  const at::Tensor centroids = std::get<0>(buffer("run", 40, kMatrix + ".quant.centroids").sort());
  EXPECT_TRUE(at::equal(own.levels, centroids[0].to(at::kBFloat16).to(at::kFloat)));
}

TEST_F(Soft, ParqBeginsAsTheTeacherAndEndsNearerToItThanRoundingDoes) {
  ASSERT_EQ(train_recipe("tiny_parq.toml", "run", {"train.log_every=1"}), 0) << output_;
  ASSERT_EQ(train_recipe("tiny_parq.toml", "hard", {"quant.weight.anneal_end=0", "train.steps=1"}),
            0)
      << output_;
  EXPECT_EQ(losses("run").size(), 40u);
  EXPECT_LT(losses("run").front(), 1e-5);
  EXPECT_GT(losses("run").back(), 1e-3);
  EXPECT_LT(losses("run").back(), 0.9 * losses("hard").front());
}

TEST_F(Soft, ParqKilledFiveTimesGivesTheWeightsOfTheStraightRun) {
  const Keys keys{"quant.weight={ name = \"parq\", bits = 2 }", "train.ema=0.8"};
  ASSERT_EQ(train("straight", keys), 0) << output_;
  train_with_kills("killed", keys, {150, 420, 610, 880, 1100});
  EXPECT_EQ(hashes("killed", "step-40"), hashes("straight", "step-40"));
}

TEST_F(Soft, RangeLossesAreLoggedAndFallAndAreCarriedOnByAResumedRun) {
  ASSERT_EQ(train_recipe("tiny_r2.toml", "run", {"train.log_every=1"}), 0) << output_;
  std::istringstream log(io::read_text(run_folder("run") / "log.jsonl"));
  std::vector<double> ranges;
  for (std::string line; std::getline(log, line);)
    ranges.push_back(nlohmann::json::parse(line).at("terms").at("range").get<double>());
  ASSERT_EQ(ranges.size(), 40u);
  EXPECT_LT(ranges.back(), ranges.front());
  const std::string wanted = hashes("run", "step-40");
  fs::remove_all(run_folder("run") / "checkpoints/step-40");
  ASSERT_EQ(train_recipe("tiny_r2.toml", "run", {"train.log_every=1", "--resume"}), 0) << output_;
  EXPECT_NE(output_.find("from step-35"), std::string::npos) << output_;
  EXPECT_EQ(hashes("run", "step-40"), wanted);
  const fs::path last = run_folder("run") / "checkpoints/step-40";
  EXPECT_TRUE(model::read_kind(last, model::read_manifest(last), "quant")
                  .contains("model.layers.1.mlp.down_proj.weight.range.margin"));
}

}  // namespace
}  // namespace sterna::tests
