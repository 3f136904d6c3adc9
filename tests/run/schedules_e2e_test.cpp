// What changes over the steps of a run - rates, bits, intervention, averages - goes on behind a
// resume as if nothing had happened.
#include "tests/run/train_fixture.h"
#include "trainer/model/load.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

using Keys = std::vector<std::string>;

class Schedules : public Training {
 protected:
  /// Twelve steps; then once more from the checkpoint of step `from`.
  void expect_same_from(const Keys& more, int64_t from) {
    Keys all = more;
    for (const char* key : {"train.steps=12",
                            "train.checkpoint_every=1",
                            "train.keep_last=20",
                            "train.keep_best=false",
                            "train.weight_decay=0.1"})
      all.emplace_back(key);
    ASSERT_EQ(train("run", all), 0) << output_;
    const std::string wanted = hashes("run", "step-12");
    for (int64_t step = from + 1; step <= 12; ++step)
      std::filesystem::remove_all(run_folder("run") / "checkpoints" /
                                  ("step-" + std::to_string(step)));
    all.emplace_back("--resume");
    ASSERT_EQ(train("run", all), 0) << output_;
    EXPECT_NE(output_.find("from step-" + std::to_string(from)), std::string::npos) << output_;
    EXPECT_EQ(hashes("run", "step-12"), wanted);
  }

  model::Manifest manifest(const std::string& name, int64_t step) {
    return model::read_manifest(run_folder(name) / "checkpoints" /
                                ("step-" + std::to_string(step)));
  }
};

TEST_F(Schedules, InterventionThatIsDrawn) {
  expect_same_from({"kd.intervention={ steps = 8, chance = 0.7, chance_final = 0.3 }"}, 5);
}

TEST_F(Schedules, InterventionOfWholeLayersWhoseAttentionWaits) {
  expect_same_from(
      {"kd.intervention={ steps = 6 }", "quant.weight={ name = \"affine_learned\", group = 16 }"},
      8);
  const std::string attention = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(manifest("run", 12).state.at("applied:" + attention), 6);
  EXPECT_FALSE(manifest("run", 12).state.contains("applied:model.layers.0.mlp.up_proj.weight"));
  const auto moments =
      model::read_kind(run_folder("run") / "checkpoints/step-5", manifest("run", 5), "moment1");
  EXPECT_FALSE(moments.contains(attention));
  EXPECT_NE(output_.find("resuming"), std::string::npos);
}

TEST_F(Schedules, HiddenStatesAndAMeasuredMixture) {
  expect_same_from({"kd.hidden=[{ match = \"layers.*\", weight = 2.0 }, { match = \"*\" }]",
                    "kd.loss={ name = \"cakld\", beta_batches = 2 }"},
                   7);
  EXPECT_NE(output_.find("mean confidence"), std::string::npos) << output_;
}

TEST_F(Schedules, BertAdamOnItsSchedule) {
  expect_same_from({"train.optimizer=bertadam", "train.schedule=bert", "train.eps=1e-6"}, 7);
}

TEST_F(Schedules, TwoStages) {
  expect_same_from({"train.schedule=two_stage"}, 7);
}

TEST_F(Schedules, AverageOfMastersAndQuantizers) {
  expect_same_from({"train.ema=0.8", "quant.weight={ name = \"affine_learned\", group = 16 }"}, 7);
  ASSERT_NE(hashes("run", "step-12").find("ema"), std::string::npos);
}

TEST_F(Schedules, FewerBitsFromStageToStageWithAnAverage) {
  const Keys more{"train.ema=0.8",
                  "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                  "quant.stage=[{ until = 4, weight = { name = \"minmax_sym\", bits = 8 } },"
                  " { until = 8, weight = { name = \"affine_learned\", bits = 4, group = 16 } }]"};
  for (const int64_t from : {3, 4, 6, 8, 10}) {
    std::filesystem::remove_all(run_folder("run"));
    expect_same_from(more, from);
  }
  EXPECT_NE(output_.find("step 12/12"), std::string::npos) << output_;
  // Each checkpoint is read with the quantizers that it was made with.
  std::filesystem::remove_all(run_folder("run") / "checkpoints/step-12");
  const auto bits_at = [&](int64_t step) {
    for (int64_t later = 12; later > step; --later)
      std::filesystem::remove_all(run_folder("run") / "checkpoints" /
                                  ("step-" + std::to_string(later)));
    const model::Weights weights = model::read_weights(model::inspect(run_folder("run")));
    return weights.encoded.at("model.layers.0.mlp.up_proj.weight").bits;
  };
  EXPECT_EQ(bits_at(11), 2);
}

TEST_F(Schedules, AStageThatNeverEndsIsRefused) {
  EXPECT_EQ(train("run",
                  {"train.steps=8",
                   "quant.stage=[{ until = 8, weight = { name = \"minmax_sym\", bits = 8 } }]"}),
            2);
  EXPECT_NE(output_.find("leaves none to quant.weight"), std::string::npos) << output_;
  EXPECT_EQ(
      train("run",
            {"quant.stage=[{ until = 8, weight = \"twn\" }, { until = 8, weight = \"twn\" }]"}),
      2);
  EXPECT_NE(output_.find("expected a step behind 8"), std::string::npos) << output_;
}

TEST_F(Schedules, TheAverageIsWhatIsEvaluatedAndExportedUnlessToldOtherwise) {
  write_text_file(folder_.path() / "held.txt", tiny_text(20, 99));
  const std::string text = (folder_.path() / "held.txt").string();
  const auto ppl = [&](const std::string& name, const std::vector<std::string>& more) {
    Keys all{"train.steps=6",
             "train.lr=2e-2",
             "train.schedule=constant",
             "eval.text=" + text,
             "eval.window=32",
             "eval.before=false",
             "export.format={ name = \"sterna\", dtype = \"fp32\" }"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(train(name, all), 0) << output_;
    return nlohmann::json::parse(io::read_text(run_folder(name) / "eval" / "step-6.held.txt.json"))
        .at("ppl")
        .get<double>();
  };
  const double last = ppl("last", {});
  const double average = ppl("average", {"train.ema=0.9"});
  const double unused = ppl("unused", {"train.ema=0.9", "train.ema_use=false"});
  EXPECT_EQ(last, unused);
  EXPECT_GT(std::abs(average / last - 1), 1e-4);
  // Training itself did not notice; the export and the checkpoint, read back, are the average.
  const auto master = run_folder("last") / "checkpoints/step-6/master.safetensors";
  EXPECT_EQ(io::sha256_of_file(master),
            io::sha256_of_file(run_folder("average") / "checkpoints/step-6/master.safetensors"));
  for (const std::string what : {"", "export/sterna"}) {
    const auto out = folder_.path() / "eval.json";
    Program eval({"eval",
                  (run_folder("average") / what).string(),
                  "eval.text=" + text,
                  "eval.window=32",
                  "train.threads=1",
                  "--json",
                  out.string()},
                 folder_.path() / "output.txt");
    ASSERT_EQ(eval.wait(), 0) << eval.output();
    const double again = nlohmann::json::parse(io::read_text(out)).at("ppl").get<double>();
    EXPECT_NEAR(again, average, 1e-6 * average) << what;
  }
}

TEST_F(Schedules, WhatADecoderCannotDoYetIsRefusedBeforeWeightsAreRead) {
  const auto refused = [&](const Keys& more, const std::string& why) {
    EXPECT_EQ(train("run", more), 2) << why;
    EXPECT_NE(output_.find(why), std::string::npos) << output_;
    EXPECT_FALSE(std::filesystem::exists(run_folder("run") / "recipe.toml"));
  };
  refused({"kd.intervention={ mode = \"gradual\", steps = 4 }"}, "cannot stand in for a decoder's");
  refused({"kd.intervention={ steps = 4 }", "train.recompute=true"}, "runs blocks twice");
  refused({"kd.hidden=[{ match = \"layers.7\" }]"}, "matches no hidden state");
  TinyModel deep;
  deep.layers = 3;
  write_tiny_model(folder_.path() / "deep", deep);
  refused({"kd.hidden=[{ match = \"*\" }]", "teacher.path=" + (folder_.path() / "deep").string()},
          "kd.hidden goes block by block");
}

}  // namespace
}  // namespace sterna::tests
