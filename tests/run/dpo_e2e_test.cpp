// Preferences end to end: the recipe's tiny twin, QDPO's reference, resuming.
#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

using nlohmann::json;

class Preferences : public Training {
 protected:
  void SetUp() override {
    Training::SetUp();
    std::string lines;
    for (int i = 0; i < 40; ++i) {
      const std::string n = std::to_string(i * 7 % 40);
      lines += json{{"prompt", "is " + n + " even? "},
                    {"chosen", i * 7 % 2 == 0 ? "yes" : "no"},
                    {"rejected", i * 7 % 2 == 0 ? "never" : "always"}}
                   .dump() +
               "\n";
    }
    write_text_file(folder_.path() / "pairs.jsonl", lines);
  }

  std::vector<std::string> dpo(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), "data.text=" + (folder_.path() / "pairs.jsonl").string());
    return more;
  }

  /// Trains by recipes/tests/tiny_dpo.toml.
  int prefer(const std::string& name, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = arguments(name, dpo(more));
    all[1] = (source_dir() / "recipes/tests/tiny_dpo.toml").string();
    Program program(all, folder_.path() / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  std::vector<json> log_of(const std::string& name) const {
    std::vector<json> lines;
    std::istringstream log(io::read_text(run_folder(name) / "log.jsonl"));
    for (std::string line; std::getline(log, line);)
      lines.push_back(json::parse(line));
    return lines;
  }

  bool says(const std::string& what) const { return output_.find(what) != output_.npos; }
};

TEST_F(Preferences, LearnsToPreferTheChosenAnswers) {
  ASSERT_EQ(prefer("a"), 0) << output_;
  const std::vector<json> lines = log_of("a");
  ASSERT_EQ(lines.size(), 30u);
  const json& last = lines.back()["terms"];
  EXPECT_LT(last["dpo"], 0.3) << last;
  EXPECT_GT(last["dpo_margin"], 1.0) << last;
  EXPECT_EQ(last["dpo_accuracy"], 1.0) << last;
  EXPECT_EQ(lines.back()["loss"], last["dpo"]);
}

TEST_F(Preferences, WithTheStudentItselfAsReferenceBeginsAtLogTwo) {
  // QDPO: the reference is the quantized model at the start.
  const std::string same = "{ name = \"minmax_sym\", bits = 4 }";
  ASSERT_EQ(prefer("q", {"quant.weight=" + same, "teacher.quant.weight=" + same, "train.steps=2"}),
            0)
      << output_;
  const json first = log_of("q")[0]["terms"];
  EXPECT_NEAR(first["dpo"].get<double>(), std::log(2.0), 1e-6);
  EXPECT_NEAR(first["dpo_margin"].get<double>(), 0, 1e-6);
}

TEST_F(Preferences, IsTheSameFromCachedStatesAndAcrossAStop) {
  const std::vector<std::string> cache = {"teacher.cache=hidden",
                                          "teacher.cache_dir=" + (folder_.path() / "c").string(),
                                          "teacher.dtype=bf16",
                                          "train.steps=8"};
  ASSERT_EQ(prefer("online", {"teacher.dtype=bf16", "train.steps=8"}), 0) << output_;
  ASSERT_EQ(prefer("cached", cache), 0) << output_;
  EXPECT_EQ(hashes("cached", "step-8"), hashes("online", "step-8"));
  std::vector<std::string> half = cache;
  half.insert(half.end(), {"train.steps=4", "train.schedule=constant", "train.warmup=0"});
  ASSERT_EQ(prefer("stopped", half), 0) << output_;
  std::vector<std::string> rest = half;
  rest.insert(rest.end(), {"train.steps=8", "--resume"});
  ASSERT_EQ(prefer("stopped", rest), 0) << output_;
  std::vector<std::string> straight = half;
  straight.push_back("train.steps=8");
  ASSERT_EQ(prefer("straight", straight), 0) << output_;
  EXPECT_EQ(hashes("stopped", "step-8"), hashes("straight", "step-8"));
}

TEST_F(Preferences, SaysWhereDataAndLossDoNotFit) {
  EXPECT_EQ(prefer("a", {"train.batch=3"}), 2);
  EXPECT_TRUE(says("train.batch")) << output_;
  EXPECT_EQ(prefer("b", {"data.format=text"}), 2);
  EXPECT_TRUE(says("data.format=preference")) << output_;
  EXPECT_EQ(train("c", dpo({"data.format=preference"})), 2);
  EXPECT_TRUE(says("nothing in [kd] prefers")) << output_;
  EXPECT_EQ(prefer("d", {"teacher.cache=topk"}), 2);
  EXPECT_TRUE(says("teacher.cache=hidden")) << output_;
  EXPECT_EQ(prefer("e", {"kd.loss=gt"}), 2);
  EXPECT_TRUE(says("teach the rejected answers")) << output_;
}

}  // namespace
}  // namespace sterna::tests
