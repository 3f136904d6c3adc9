// Whole runs on a device against the same on the CPU: recipes, evaluations, checkpoints, resuming.
#include "trainer/run/train.h"

#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/device/devices.h"
#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/io/atomic_file.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Keys = std::vector<std::string>;

class DeviceRun : public tests::OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    tests::write_tiny_model(folder_ / "model");
    tests::write_text_file(folder_ / "text.txt", tests::tiny_text(300));
  }

  fs::path train(const std::string& name,
                 std::optional<at::Device> device,
                 const Keys& keys = {},
                 bool resume = false) {
    recipes::Recipe recipe =
        recipes::Recipe::load(tests::source_dir() / "recipes/tests/tiny_kl.toml");
    Keys all{"model.path=" + (folder_ / "model").string(),
             "data.text=" + (folder_ / "text.txt").string(),
             "data.cache=" + (folder_ / "tokens").string(),
             "eval.text=" + (folder_ / "text.txt").string(),
             "eval.window=32",
             "eval.max_windows=4",
             "train.steps=4",
             "train.checkpoint_every=2",
             "run.dir=" + (folder_ / "runs").string(),
             "run.name=" + name};
    all.insert(all.end(), keys.begin(), keys.end());
    for (const std::string& key : all)
      recipe.set(key);
    said_.str("");
    TrainOptions options{resume, 0, said_};
    options.device = device;
    options.at_folder = [&](const fs::path&) {
      deterministic_ = at::globalContext().deterministicAlgorithms();
    };
    return run::train(recipe, options).run;
  }

  static std::vector<double> losses(const fs::path& run) {
    std::vector<double> result;
    std::istringstream lines(io::read_text(run / "log.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (const json each = json::parse(line); each.value("stage", "") == "train")
        result.push_back(each.at("loss"));
    return result;
  }

  static std::map<std::string, double> perplexities(const fs::path& run) {
    std::map<std::string, double> result;
    for (const auto& entry : fs::directory_iterator(run / "eval"))
      if (entry.path().extension() == ".json")
        result[entry.path().filename()] = json::parse(io::read_text(entry.path())).at("ppl");
    return result;
  }

  /// @param off  what the far device may be off by; a GPU sums in another order anyway
  void expect_same(const fs::path& there, const fs::path& here, double off = 1e-5) {
    const double tolerance = GetParam().is_far() ? off : std::max(off, 2e-3);
    const std::vector<double> wanted = losses(here);
    const std::vector<double> found = losses(there);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i)
      EXPECT_NEAR(found[i], wanted[i], tolerance * wanted[i]) << "step " << i;
    const auto perplexity = perplexities(here);
    ASSERT_FALSE(perplexity.empty());
    for (const auto& [file, value] : perplexities(there))
      EXPECT_NEAR(value, perplexity.at(file), tolerance * value) << file;
  }

  const tests::TempFolder folder_;
  std::ostringstream said_;
  bool deterministic_ = false;  ///< ATen was told so while the last run ran
};

TEST_P(DeviceRun, GivesTheLossesAndPerplexitiesOfTheCpu) {
  const Keys keys{"kd.loss=\"tsld\"", "eval.before=true", "eval.after=true", "eval.every=2"};
  const fs::path here = train("cpu", at::Device(at::kCPU), keys);
  for (const char* offload : {"", "optimizer"}) {
    const std::string name = std::string("there") + offload;
    Keys all = keys;
    all.push_back("memory.offload=\"" + std::string(offload) + "\"");
    expect_same(train(name, device(), all), here);
  }
}

TEST_P(DeviceRun, GoesOnWhereACheckpointWasWrittenToTheLastBit) {
  const Keys keys{"kd.loss=\"tsld\"", "train.ema=0.9", "memory.offload=\"optimizer\""};
  Keys half = keys;
  half.push_back("train.schedule=\"constant\"");
  train("halves", device(), half);
  half.push_back("train.steps=6");
  const fs::path run = train("halves", device(), half, /*resume=*/true);
  ASSERT_EQ(losses(run).size(), 6U);
  Keys straight = keys;
  straight.push_back("train.schedule=\"constant\"");
  straight.push_back("train.steps=6");
  const std::vector<double> at_once = losses(train("at_once", device(), straight));
  const std::vector<double> in_two = losses(run);
  for (size_t i = 0; i < at_once.size(); ++i)
    EXPECT_NEAR(in_two[i], at_once[i], (GetParam().is_far() ? 0 : 1e-4) * at_once[i]) << i;
}

TEST_P(DeviceRun, GivesTheLossesOfTheCpuWithATeacherFromDisk) {
  for (const char* kind : {"hidden", "topk"}) {
    const Keys keys{"teacher.cache=\"" + std::string(kind) + "\"",
                    "teacher.top_k=8",
                    "teacher.cache_dir=" + (folder_ / kind).string()};
    const fs::path here = train(std::string("cpu") + kind, at::Device(at::kCPU), keys);
    expect_same(train(std::string("there") + kind, device(), keys), here);
  }
}

TEST_P(DeviceRun, RepeatsItsBitsWhereItIsToBeDeterministic) {
  const Keys keys{"kd.loss=\"tsld\"", "train.freeze=[]", "train.deterministic=true"};
  for (const at::Device where : {at::Device(at::kCPU), device()}) {
    const std::string name = where.str().substr(0, 3);
    const std::vector<double> first = losses(train(name + "1", where, keys));
    EXPECT_TRUE(deterministic_);
    EXPECT_EQ(losses(train(name + "2", where, keys)), first);
  }
  Keys without = keys;
  without.pop_back();
  const std::vector<double> plain = losses(train("plain", at::Device(at::kCPU), without));
  EXPECT_FALSE(deterministic_);
  EXPECT_EQ(losses(folder_ / "runs" / "cpu1"), plain) << "the CPU repeats its bits anyway";
}

TEST_P(DeviceRun, TrainsBlockAfterBlockAsTheCpuDoes) {
  const Keys keys{"blockwise.samples=8",
                  "train.steps=3",
                  "quant.weight={ name = \"affine_learned\", bits = 3, group = 32 }",
                  "eval.after=true"};
  const fs::path here = train("cpu", at::Device(at::kCPU), keys);
  for (const char* offload : {"", "optimizer"}) {
    Keys all = keys;
    all.push_back("memory.offload=\"" + std::string(offload) + "\"");
    expect_same(train(std::string("there") + offload, device(), all), here);
  }
}

TEST_P(DeviceRun, GivesTheLossesOfTheCpuWhateverIsTrained) {
  const std::vector<Keys> kinds = {
      {"adapter.method={ name = \"lora\", rank = 4, alpha = 8 }",
       "quant.weight={ name = \"minmax_asym\", bits = 2, group = 16 }"},
      {"train.only=\"scales\"", "quant.weight={ name = \"affine_learned\", bits = 4, group = 32 }"},
      {"quant.weight={ name = \"parq\" }", "train.freeze=[]"},
      {"quant.weight=\"lsq\"", "train.freeze=[]", "kd.loss=\"gt\""},
      {"model.dtype=\"bf16\"", "kd.loss=\"gt\""},
      {"teacher.quant.weight={ name = \"minmax_sym\", bits = 4, group = 32 }"},
      {"kd.range=[{ match = \"*.q_proj\", loss = \"margin\" },"
       " { match = \"*.k_proj\", loss = \"soft_min_max\" },"
       " { match = \"*\", loss = { name = \"l_inf\" } }]"}};
  for (size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(kinds[i].front());
    Keys keys = kinds[i];
    keys.push_back("eval.after=true");
    const std::string name = std::to_string(i);
    const fs::path here = train("cpu" + name, at::Device(at::kCPU), keys);
    const bool narrow = keys.front() == "model.dtype=\"bf16\"";  // rounds between other operations
    expect_same(train("there" + name, device(), keys), here, narrow ? 2e-3 : 1e-5);
  }
}

STERNA_ON_DEVICES(DeviceRun);

}  // namespace
}  // namespace sterna::run
