// Rounded activations through every verb: trained, continued, exported, proved, evaluated.
#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kTwins{"tiny_w4a8_dint", "tiny_bitnet", "tiny_llm_qat"};
const std::string kStatic = "act.input={name='static_ema', decay=0.5}";

const std::vector<std::string> kDecoded{"--weights", "dequantized"};
// Exact integer sums of packed codes are other floats than sums of products: inputs of later layers
// may tip over the border between two codes.
constexpr double kOtherSums = 1e-3;

class ActivationsE2e : public tests::Verbs {
 protected:
  /// A run of a recipe in recipes/tests in place of the one of Verbs.
  int train(const std::string& recipe,
            const std::string& name,
            const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = training(name, more);
    all[1] = (tests::source_dir() / "recipes/tests" / (recipe + ".toml")).string();
    return sterna(all);
  }

  std::string run(const std::string& name) const { return path("runs/" + name); }

  double nll(const std::string& checkpoint, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"eval",
                                    checkpoint,
                                    "eval.text=" + path("text.txt"),
                                    "eval.window=32",
                                    "eval.max_windows=4",
                                    "--json",
                                    path("eval.json")};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(sterna(all), kDone) << err_;
    return nlohmann::json::parse(tests::read_file(folder_ / "eval.json")).at("nll").get<double>();
  }

  std::string hashes(const std::string& name, const std::string& checkpoint) const {
    std::string all;
    for (const char* kind : {"master", "buffer", "moment1", "moment2"})
      all += io::sha256_of_file(fs::path(run(name)) / "checkpoints" / checkpoint /
                                (std::string(kind) + ".safetensors"));
    return all;
  }
};

TEST_F(ActivationsE2e, EveryTwinIsTrainedExportedProvedAndEvaluatedAsItWasTrained) {
  for (const std::string& twin : kTwins) {
    ASSERT_EQ(train(twin, twin), kDone) << twin << ": " << err_;
    const std::string out = path(twin);
    ASSERT_EQ(sterna({"export", run(twin), "--dtype", "fp32", "--out", out}), kDone) << err_;
    EXPECT_EQ(sterna({"verify", out, "--against", run(twin)}), kDone) << out_ << err_;
    const double trained = nll(run(twin));
    EXPECT_EQ(nll(out, kDecoded), trained) << twin;
    EXPECT_NEAR(nll(out), trained, kOtherSums) << twin << ", packed";
    EXPECT_NE(nll(out, {"act.input=none"}), trained) << twin << ": the export rounds activations";
    EXPECT_EQ(sterna({"generate", out, "--prompt", "a", "--max-new", "4"}), kDone) << err_;
  }
}

TEST_F(ActivationsE2e, ALearnedRangeIsResumedExportedAndProved) {
  const std::vector<std::string> more{
      kStatic, "train.steps=8", "train.checkpoint_every=2", "train.keep_last=10"};
  ASSERT_EQ(train("tiny_w4a8_dint", "straight", more), kDone) << err_;
  ASSERT_EQ(train("tiny_w4a8_dint", "again", more), kDone) << err_;
  for (const char* late : {"step-6", "step-8"})
    fs::remove_all(fs::path(run("again")) / "checkpoints" / late);
  std::vector<std::string> resumed = more;
  resumed.push_back("--resume");
  ASSERT_EQ(train("tiny_w4a8_dint", "again", resumed), kDone) << err_;
  EXPECT_EQ(hashes("again", "step-8"), hashes("straight", "step-8"));
  EXPECT_NE(hashes("again", "step-8"), hashes("straight", "step-6"));

  const std::string out = path("static");
  ASSERT_EQ(sterna({"export", run("straight"), "--dtype", "fp32", "--out", out}), kDone) << err_;
  EXPECT_EQ(sterna({"verify", out, "--against", run("straight")}), kDone) << out_ << err_;
  const double trained = nll(run("straight"));
  EXPECT_EQ(nll(out, kDecoded), trained);
  EXPECT_NEAR(nll(out), trained, kOtherSums);
  // The same plan typed anew finds what the checkpoint has learned.
  EXPECT_EQ(nll(out, {kStatic, "--weights", "dequantized"}), trained);
  // A range of another step is another model.
  EXPECT_EQ(
      sterna({"verify", out, "--against", run("straight") + "/checkpoints/step-6", "verify.text="}),
      kAnswerIsNo);
  EXPECT_HAS(out_, ".act.range: learned differ");
}

TEST_F(ActivationsE2e, TrainingGoesOnFromRoundedActivationsOnlyIfTheRecipeSaysHow) {
  ASSERT_EQ(train("tiny_w4a8_dint", "first", {kStatic}), kDone) << err_;
  const std::string from = "model.path=" + run("first");
  const std::vector<std::string> still{from, "train.steps=1", "train.lr=0", "train.lr_quant=0"};
  EXPECT_EQ(sterna(training("none", still)), kUserError);
  EXPECT_HAS(err_, "rounds its activations and the recipe has no [act]");
  std::vector<std::string> without = still;
  without.push_back("act.input=none");
  EXPECT_EQ(sterna(training("without", without)), kDone) << err_;
  std::vector<std::string> with = still;
  with.insert(with.end(), {"act.input={name='static_ema', decay=0.9999999}"});
  ASSERT_EQ(train("tiny_w4a8_dint", "with", with), kDone) << err_;
  const auto ranges = [&](const std::string& name, const char* step) {
    return io::open_safetensors(fs::path(run(name)) / "checkpoints" / step / "buffer.safetensors");
  };
  const auto before = ranges("first", "step-2"), after = ranges("with", "step-1");
  int64_t compared = 0;
  for (const io::TensorView& view : before->tensors()) {
    if (!view.name.ends_with(".act.range"))
      continue;
    ++compared;
    std::vector<float> was(2), is(2);
    io::to_float(view, was);
    io::to_float(after->at(view.name), is);
    for (size_t i = 0; i < 2; ++i)
      EXPECT_NEAR(is[i], was[i], 1e-5 * std::abs(was[i])) << view.name;
  }
  EXPECT_GT(compared, 0);
}

TEST_F(ActivationsE2e, QuantizeKeepsTheRangesThatACheckpointHasLearned) {
  ASSERT_EQ(train("tiny_w4a8_dint", "run", {kStatic}), kDone) << err_;
  const std::string weight = "quant.weight={name='minmax_sym', bits=8, group=0}";
  ASSERT_EQ(sterna({"quantize", run("run"), "--out", path("own"), weight}), kDone) << err_;
  ASSERT_EQ(sterna({"quantize", run("run"), "--out", path("said"), weight, kStatic}), kDone)
      << err_;
  EXPECT_EQ(nll(path("said")), nll(path("own")));
}

TEST_F(ActivationsE2e, WhatHasLearnedNoRangeYetIsNeitherEvaluatedNorExported) {
  ASSERT_EQ(train("tiny_w4a8_dint",
                  "run",
                  {kStatic, "blockwise.samples=4", "blockwise.batch=2", "train.keep_last=9"}),
            kDone)
      << err_;
  const std::string early = run("run") + "/checkpoints/step-0";
  for (const std::vector<std::string>& verb :
       {std::vector<std::string>{"eval", early, "eval.text=" + path("text.txt"), "eval.window=32"},
        {"export", early, "--out", path("out")},
        {"generate", early, "--prompt", "a"}}) {
    EXPECT_EQ(sterna(verb), kUserError) << verb[0];
    EXPECT_HAS(err_, "has learned no range yet");
  }
  EXPECT_FALSE(fs::exists(path("out")));
  nll(early, {"act.input=none"});
}

TEST_F(ActivationsE2e, RecomputingAndAccumulatingLearnTheSameRanges) {
  const std::vector<std::string> more{kStatic, "train.accumulate=2", "train.batch=4"};
  ASSERT_EQ(train("tiny_w4a8_dint", "kept", more), kDone) << err_;
  std::vector<std::string> again = more;
  again.push_back("train.recompute=true");
  ASSERT_EQ(train("tiny_w4a8_dint", "recomputed", again), kDone) << err_;
  EXPECT_EQ(hashes("recomputed", "step-2"), hashes("kept", "step-2"));
}

TEST_F(ActivationsE2e, OtherActivationsInAnExportAreFound) {
  ASSERT_EQ(train("tiny_llm_qat", "run"), kDone) << err_;
  ASSERT_EQ(train("tiny_llm_qat", "other", {"act.key.bits=5"}), kDone) << err_;
  ASSERT_EQ(sterna({"export", run("other"), "--out", path("other")}), kDone) << err_;
  EXPECT_EQ(sterna({"verify", path("other"), "--against", run("run")}), kAnswerIsNo);
  EXPECT_HAS(out_, "activations: rounded by");
}

TEST_F(ActivationsE2e, ADenseLayoutRefusesThemUntilToldToDropThem) {
  EXPECT_EQ(train("tiny_bitnet", "early", {"export.format=dense"}), kUserError);
  EXPECT_HAS(err_, "'export.format'");
  EXPECT_HAS(err_, "[act]");
  ASSERT_EQ(train("tiny_bitnet", "run"), kDone) << err_;
  EXPECT_EQ(sterna({"export", run("run"), "--format", "dense", "--out", path("dense")}),
            kUserError);
  EXPECT_HAS(err_, "no place for [act]");
  EXPECT_FALSE(fs::exists(path("dense")));
  ASSERT_EQ(sterna({"export",
                    run("run"),
                    "--format",
                    "dense",
                    "--dtype",
                    "fp32",
                    "--out",
                    path("dense"),
                    "export.format.activations=drop"}),
            kDone)
      << err_;
  EXPECT_EQ(sterna({"verify", path("dense"), "--against", run("run")}), kDone) << out_ << err_;
  EXPECT_EQ(nll(path("dense")), nll(run("run"), {"act.input=none"}));
}

TEST_F(ActivationsE2e, CheckShowsThemBesideTheWeights) {
  std::vector<std::string> all = training("run");
  all[0] = "check";
  all[1] = (tests::source_dir() / "recipes/tests/tiny_llm_qat.toml").string();
  ASSERT_EQ(sterna(all), kDone) << err_;
  EXPECT_HAS(out_, "bits/weight  input\n");
  EXPECT_HAS(out_, "per_token 8\n");
  EXPECT_HAS(out_, "activations: inputs of linear layers: per_token 8 (14)");
  EXPECT_HAS(out_, "activations: keys: per_token 4 (2)");
}

TEST_F(ActivationsE2e, QuantizePutsThemIntoTheExportUnlessTheyWouldHaveToBeTrained) {
  const std::string weight = "quant.weight={name='dint', group=0}";
  ASSERT_EQ(sterna({"quantize", path("model"), "--out", path("plain"), weight}), kDone) << err_;
  ASSERT_EQ(sterna({"quantize",
                    path("model"),
                    "--out",
                    path("a4"),
                    weight,
                    "act.input=per_token",
                    "act.input.bits=4"}),
            kDone)
      << err_;
  const double plain = nll(path("plain"));
  const double rounded = nll(path("a4"));
  EXPECT_NE(rounded, plain);
  EXPECT_EQ(nll(path("plain"), {"act.input=per_token", "act.input.bits=4"}), rounded);
  EXPECT_EQ(nll(path("a4"), {"act.input=none"}), plain);
  EXPECT_EQ(sterna({"quantize", path("model"), "--out", path("no"), weight, kStatic}), kUserError);
  EXPECT_HAS(err_, "q_proj has learned no range");
  EXPECT_FALSE(fs::exists(path("no")));
}

TEST_F(ActivationsE2e, ARuleThatMatchesNothingIsNamedBeforeTraining) {
  EXPECT_EQ(train("tiny_bitnet", "run", {"act.rule={match='*.down_prj', quantizer='none'}"}),
            kUserError);
  EXPECT_HAS(err_, "'act.rule");
  EXPECT_HAS(err_, "down_proj");
  EXPECT_FALSE(fs::exists(run("run")));
}

}  // namespace
}  // namespace sterna::cli
