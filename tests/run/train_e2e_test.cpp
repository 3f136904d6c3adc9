// What a run tells while it goes: log lines, console, manifest; and that one bad step is no end.
#include <cmath>
#include <regex>
#include <set>

#include "tests/run/train_fixture.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

using nlohmann::json;

std::vector<json> log_of(const std::filesystem::path& run) {
  std::vector<json> lines;
  std::istringstream log(io::read_text(run / "log.jsonl"));
  for (std::string line; std::getline(log, line);)
    lines.push_back(json::parse(line));
  return lines;
}

std::set<std::string> keys_of(const json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items())
    keys.insert(key);
  return keys;
}

TEST_F(Training, EveryLineOfTheLogHasItsFields) {
  ASSERT_EQ(train("logged",
                  {"train.steps=2",
                   "train.peak_tflops=1",
                   "kd.loss=tsld",
                   "blockwise.samples=4",
                   "quant.weight={ name = \"affine_learned\", group = 16 }"}),
            0)
      << output_;
  const std::vector<json> lines = log_of(run_folder("logged"));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(keys_of(lines[0]),
            (std::set<std::string>{"stage",
                                   "block",
                                   "steps",
                                   "error_before",
                                   "error_after",
                                   "stable",
                                   "quant_ms",
                                   "train_ms",
                                   "block_ms",
                                   "peak_rss_mib"}));
  const json& step = lines[3];
  EXPECT_EQ(
      keys_of(step),
      (std::set<std::string>{
          "stage",        "step",       "loss",       "terms",        "lr",           "lr_quant",
          "grad_norm",    "skipped",    "found_inf",  "tokens",       "tokens_per_s", "mfu",
          "kd_mfu",       "tflops",     "rss_mib",    "peak_rss_mib", "step_ms",      "data_ms",
          "quant_ms",     "teacher_ms", "forward_ms", "loss_ms",      "backward_ms",  "exchange_ms",
          "optimizer_ms", "save_ms"}));
  EXPECT_EQ(keys_of(step["terms"]), (std::set<std::string>{"gt", "tsld"}));
  EXPECT_EQ(step["step"], 2);
  EXPECT_EQ(step["tokens"], 8 * 32);
  EXPECT_GT(step["mfu"].get<double>(), 0);
  EXPECT_GT(step["kd_mfu"].get<double>(), step["mfu"].get<double>());
  EXPECT_GT(step["rss_mib"].get<double>(), 1);
}

TEST_F(Training, WhatCheckpointsTakeIsLoggedWithTheStepBehindThem) {
  ASSERT_EQ(train("saving", {"train.steps=5", "train.checkpoint_every=2", "kd.loss=gt"}), 0)
      << output_;
  std::vector<double> save_ms;
  for (const json& line : log_of(run_folder("saving")))
    save_ms.push_back(line["save_ms"].get<double>());
  ASSERT_EQ(save_ms.size(), 5u);
  // Behind steps 2 and 4 tensors are copied; elsewhere one is only looked after.
  EXPECT_EQ(save_ms[0], 0);
  EXPECT_GT(save_ms[2], save_ms[1]);
  EXPECT_GT(save_ms[4], save_ms[1]);
}

TEST_F(Training, InFullPrecisionNeedsNoQuantizerAndNoTeacherAndLearns) {
  ASSERT_EQ(train("plain",
                  {"quant.weight=none",
                   "kd.loss=gt",
                   "train.freeze=[]",
                   "train.weight_decay=0.1",
                   "eval.text=" + (folder_.path() / "text.txt").string(),
                   "eval.window=32",
                   "eval.max_windows=8"}),
            0)
      << output_;
  const auto folder = run_folder("plain");
  const auto ppl = [&](const std::string& cell) {
    const json result = json::parse(io::read_text(folder / "eval" / (cell + ".text.txt.json")));
    EXPECT_FALSE(result.contains("kld")) << "there is no teacher";
    return result.at("ppl").get<double>();
  };
  EXPECT_LT(ppl("step-40"), 0.5 * ppl("full-precision"));
  EXPECT_FALSE(std::filesystem::exists(folder / "eval/ptq.text.txt.json"));
  for (const char* kind : {"quant", "buffer"})
    EXPECT_FALSE(std::filesystem::exists(folder / "checkpoints/step-40" /
                                         (std::string(kind) + ".safetensors")))
        << kind;
  const std::vector<json> lines = log_of(folder);
  ASSERT_EQ(lines.size(), 40u);
  EXPECT_EQ(keys_of(lines.back()["terms"]), std::set<std::string>{"gt"});
}

TEST_F(Training, WithoutAKnownPeakOfTheDeviceMfuIsNull) {
  ASSERT_EQ(train("unknown", {"train.steps=1"}), 0) << output_;
  const json step = log_of(run_folder("unknown")).front();
  EXPECT_TRUE(step["mfu"].is_null());
  EXPECT_TRUE(step["kd_mfu"].is_null());
}

TEST_F(Training, TheConsoleSaysWhatAStepHoldsInMemory) {
  ASSERT_EQ(train("shown", {"train.steps=1"}), 0) << output_;
  EXPECT_TRUE(std::regex_search(output_, std::regex("step 1/1 .* rss [0-9.]+ GiB"))) << output_;
}

TEST_F(Training, TheManifestNamesTheCommitThatTheProgramWasBuiltFrom) {
  ASSERT_EQ(train("named", {"train.steps=1"}), 0) << output_;
  const std::string version =
      model::read_manifest(run_folder("named") / "checkpoints/step-1").code_version;
  const bool checkout = std::filesystem::exists(source_dir() / ".git");
  const std::regex form(checkout ? R"(sterna [0-9.]+ \(commit [0-9a-f]{12}(, dirty)?\))"
                                 : R"(sterna [0-9.]+)");
  EXPECT_TRUE(std::regex_match(version, form)) << version;
}

/// Makes one byte a word that the first block's attention overflows on, in a model whose weights
/// are all finite: the first norm blows up an element that only this byte's embedding has.
void spoil(const std::filesystem::path& model, char byte) {
  const auto path = model / "model.safetensors";
  const std::string all = io::read_text(path);
  uint64_t header = 0;
  std::memcpy(&header, all.data(), sizeof header);
  const json tensors = json::parse(all.substr(8, header));
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto set = [&](const std::string& tensor, int64_t element, float value) {
    const auto begin = tensors[tensor]["data_offsets"][0].get<uint64_t>();
    file.seekp(static_cast<std::streamoff>(8 + header + begin + element * sizeof value));
    file.write(reinterpret_cast<const char*>(&value), sizeof value);
  };
  const TinyModel shape;
  for (int64_t row = 0; row < shape.vocab; ++row)
    set("model.embed_tokens.weight", row * shape.width, row == byte ? 1.0f : 0.0f);
  set("model.layers.0.input_layernorm.weight", 0, 1e37f);
}

TEST_F(Training, ASingleStepWithNaNIsSkippedAndCountedAndTrainingGoesOn) {
  spoil(folder_.path() / "model", 'Q');
  // The sixteenth sample of 32 tokens: in step 2 of eight samples each.
  const std::string text = tiny_text(60);
  write_text_file(folder_.path() / "text.txt", text.substr(0, 500) + "Q" + text.substr(500));
  ASSERT_EQ(train("bad", {"train.steps=6", "data.shuffle=false"}), 0) << output_;
  const std::vector<json> lines = log_of(run_folder("bad"));
  ASSERT_EQ(lines.size(), 6u);
  for (const json& line : lines) {
    const auto step = line["step"].get<int64_t>();
    EXPECT_EQ(line["skipped"].get<bool>(), step == 2) << line;
    EXPECT_EQ(line["found_inf"].get<int64_t>(), step < 2 ? 0 : 1) << line;
    EXPECT_EQ(line["loss"].is_number(), step != 2) << line;
  }
  EXPECT_NE(output_.find("step 2 skipped: NaN or Inf in "), std::string::npos) << output_;
  const model::Manifest manifest = model::read_manifest(run_folder("bad") / "checkpoints/step-6");
  EXPECT_EQ(manifest.state.at("applied"), 5);
  EXPECT_EQ(manifest.state.at("skipped"), 1);
  EXPECT_EQ(manifest.state.at("bad_in_row"), 0);
}

}  // namespace
}  // namespace sterna::tests
