// `sterna plan`: what is printed and written, and mistakes.
#include "tests/cli/verbs.h"
#include "tests/plan/planning_fixture.h"
#include "tests/support/memory.h"

namespace sterna::cli {
namespace {

class PlanVerb : public tests::Verbs {
 protected:
  /// On a model of which there is nothing but config.json.
  int plan(const std::vector<std::string>& more = {}, const tests::TinyModel& shape = {}) {
    tests::write_config_alone(folder_ / "config_alone", shape);
    std::vector<std::string> all = {"plan",
                                    (tests::source_dir() / "recipes/tests/tiny_kl.toml").string(),
                                    "model.path=" + path("config_alone")};
    all.insert(all.end(), more.begin(), more.end());
    return sterna(all);
  }

  nlohmann::json planned(std::vector<std::string> more) {
    more.insert(more.end(), {"--json", path("plan.json")});
    EXPECT_EQ(plan(more), kDone) << err_;
    return nlohmann::json::parse(tests::read_file(folder_ / "plan.json"));
  }

  bool prints(const std::string& text) const { return out_.find(text) != std::string::npos; }
};

TEST_F(PlanVerb, NeedsNothingButAConfiguration) {
  ASSERT_EQ(plan({"--world", "2", "--gpu", "a100"}), kDone) << err_;
  for (const char* text : {"2 ranks, 1 node of a100, ddp, teacher replicated",
                           "memory of a rank, GiB",
                           "fits into 79.0 GiB",
                           "GPU-hours",
                           "train.checkpoint_every=",
                           "assumed of a100: 40 % of 312 TFLOP/s"})
    EXPECT_TRUE(prints(text)) << text << "\n" << out_;
}

TEST_F(PlanVerb, AllocatesNothingOfASevenBillionModel) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "no peak of memory can be measured here (clear_refs, AddressSanitizer)";
  const std::vector<std::string> arguments{
      "quant.weight={name='affine_learned',group=64}", "train.seq_len=2048", "--world", "8"};
  ASSERT_EQ(plan(arguments, tests::llama_7b()), kDone)
      << err_;  // code that is used for the first time
  const tests::PeakMemory peak;
  ASSERT_EQ(plan(arguments, tests::llama_7b()), kDone) << err_;
  EXPECT_TRUE(prints("6.74 G parameters")) << out_;
  EXPECT_LT(peak.bytes(), 64 << 20);
}

TEST_F(PlanVerb, WritesEverythingAsJson) {
  const nlohmann::json json = planned({"--world", "4", "dist.strategy=zero2", "machine.mfu=0.5"});
  EXPECT_EQ(json.at("format"), 1);
  EXPECT_EQ(json.at("ranks"), 4);
  EXPECT_EQ(json.at("strategy"), "zero2");
  EXPECT_EQ(json.at("machine").at("mfu"), 0.5);
  EXPECT_EQ(json.at("machine").at("like"), "h100");
  EXPECT_EQ(json.at("micro_batch"), 2);
  EXPECT_EQ(json.at("fits"), true);
  EXPECT_EQ(json.at("tokens"), 40 * 8 * 32);
  ASSERT_EQ(json.at("strategies").size(), 8u);
  const nlohmann::json& own = json.at("strategies")[4];
  EXPECT_EQ(own.at("strategy"), "zero2");
  EXPECT_EQ(own.at("teacher"), "replicated");
  EXPECT_EQ(own.at("memory_bytes"), json.at("memory").at("total"));
  EXPECT_EQ(own.at("tokens_per_s"), json.at("tokens_per_s"));
  EXPECT_LT(json.at("strategies")[7].at("memory_bytes"), own.at("memory_bytes"));
  double sum = 0;
  const nlohmann::json& memory = json.at("memory");
  for (const auto& [part, bytes] : memory.items())
    sum += part == "total" || part == "room" ? 0 : bytes.get<double>();
  const double beside =
      std::min(memory.at("loss_chunk").get<double>(), memory.at("block_in_work").get<double>());
  EXPECT_DOUBLE_EQ(memory.at("total"), sum - beside - memory.at("optimizer_in_work").get<double>());
}

TEST_F(PlanVerb, WhatItAdvisesFits) {
  const std::vector<std::string> tight{
      "--world", "4", "train.seq_len=256", "machine.reserved_gib=0", "machine.memory_gib=0.004"};
  nlohmann::json json = planned(tight);
  EXPECT_EQ(json.at("fits"), false);
  EXPECT_TRUE(prints("DOES NOT FIT")) << out_;
  EXPECT_TRUE(prints("together, as little as is enough")) << out_;
  EXPECT_GE(json.at("remedies").size(), 5u);
  ASSERT_EQ(json.at("together").at("fits"), true) << out_;
  std::vector<std::string> advised = tight;
  for (const std::string changes : json.at("together").at("changes")) {
    std::istringstream each(changes);
    for (std::string change; each >> change;)
      advised.push_back(change);
  }
  EXPECT_GT(advised.size(), tight.size());
  const double promised = json.at("together").at("memory_bytes");
  json = planned(advised);
  EXPECT_EQ(json.at("fits"), true) << out_;
  EXPECT_DOUBLE_EQ(json.at("memory").at("total"), promised);
}

TEST_F(PlanVerb, SimulatesSizesThatDouble) {
  const nlohmann::json json = planned({"--simulate", "2..16", "--gpu", "h200"});
  ASSERT_EQ(json.at("points").size(), 4u);
  EXPECT_EQ(json.at("points")[3].at("ranks"), 16);
  EXPECT_EQ(json.at("points")[3].at("nodes"), 2);
  EXPECT_EQ(json.at("points")[0].at("scaling"), 1.0);
  EXPECT_LT(json.at("points")[3].at("scaling"), 1.0);
  EXPECT_TRUE(prints("weak scaling on h200, ddp: 4 x 32 tokens a rank")) << out_;
  EXPECT_TRUE(prints("assumed of h200")) << out_;
}

TEST_F(PlanVerb, AMachineMayComeFromAFileAndTypedKeysWin) {
  tests::write_file(folder_ / "mine.toml",
                    "[machine]\nlike = 'a100'\nmemory_gib = 40\nper_node = 4\n");
  const nlohmann::json json =
      planned({"--gpu", path("mine.toml"), "machine.per_node=2", "--world", "4"});
  EXPECT_EQ(json.at("machine").at("memory_gib"), 40);
  EXPECT_EQ(json.at("machine").at("peak_tflops"), 312);
  EXPECT_TRUE(prints("4 ranks, 2 nodes of a100")) << out_;
}

TEST_F(PlanVerb, MistakesAreNamed) {
  tests::write_file(folder_ / "other.toml", "[train]\nsteps = 1\n");
  tests::write_file(folder_ / "typo.toml", "[machine]\nmemory_gb = 40\n");
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes{
      {{"--gpu", "h10"},
       "no machine 'h10'; did you mean 'h100'?; expected a100, cpu, h100, h200, or"},
      {{"--gpu", path("other.toml")}, "expected the table [machine] alone, found 'train'"},
      {{"--gpu", path("typo.toml")}, "'machine.memory_gb': no machine has this key; did you mean "},
      {{"--gpu", path("nowhere.toml")}, "nowhere.toml: cannot open recipe"},
      {{"machine.like=b200"}, "'b200' is not known; known are a100, cpu, h100, h200"},
      {{"machine.mfu=2"}, "'machine.mfu': must lie in"},
      {{"--world", "0"}, "--world: expected a number from 1"},
      {{"--world", "3"},
       "cannot be shared evenly by 3 ranks in full micro-batches; take train.accumulate="},
      {{"--simulate", "8"}, "as in 8..1024, found '8'"},
      {{"--simulate", "8..4"}, "the smaller first"},
      {{"--simulate", "16..32"}, "cannot be shared evenly by 16 ranks"},
      {{"--simulate", "2..4", "--world", "2"}, "give one of them"},
      {{"train.steps=0", "blockwise.samples=4"}, "it has no steps"},
      {{"dist.strategy=zero4"}, "zero3"},
      {{"train.frezee=x"}, "train.frezee"},
      {{"train.seq_len=512"}, "at most 256 positions"},
      {{"quant.weight.group=48"}, "48"},
      {{"model.path=/nowhere"}, "/nowhere: no such file"},
  };
  for (const auto& [arguments, expected] : mistakes) {
    EXPECT_EQ(plan(arguments), kUserError) << expected;
    EXPECT_NE(err_.find(expected), std::string::npos) << err_;
    EXPECT_EQ(out_, "") << expected;
  }
}

TEST_F(PlanVerb, ARecipeWithAMachineStillTrains) {
  std::vector<std::string> check = training("x", {"machine.mfu=0.3"});
  check.front() = "check";
  std::erase(check, "run.name=x");
  EXPECT_EQ(sterna(check), kDone) << err_;
}

}  // namespace
}  // namespace sterna::cli
