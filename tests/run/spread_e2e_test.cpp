// What comes before the steps, shared out over ranks that are processes: the files are those of one
// rank.
#include "tests/run/ranks_fixture.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

class SpreadStages : public RankTraining {
 protected:
  std::map<std::string, std::string> files(const std::string& folder) const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_ / folder))
      found[entry.path().filename()] = text_of(entry.path());
    return found;
  }

  std::vector<std::string> cached(const std::string& kind,
                                  const std::string& folder,
                                  const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all{"train.steps=4",
                                 "teacher.cache=" + kind,
                                 "teacher.cache_dir=" + (folder_ / folder).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::vector<nlohmann::json> block_lines(const std::string& name) const {
    std::vector<nlohmann::json> all;
    std::istringstream lines(io::read_text(run_folder(name) / "log.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (const auto parsed = nlohmann::json::parse(line); parsed.at("stage") == "blockwise")
        all.push_back(parsed);
    return all;
  }
};

TEST_F(SpreadStages, TheTeachersAnswersAreTheFilesThatOneRankWrites) {
  const std::vector<std::string> few{
      "teacher.quant.weight={ name = 'minmax_asym', bits = 4, group = 16 }"};
  ASSERT_EQ(train("one", cached("hidden", "said1")), 0) << output_;
  EXPECT_EQ(files("said1").size(), 9u) << "eight micro-batches, a part each, and teacher.json";
  ASSERT_EQ(train_ranks(4, "four", cached("hidden", "said4")), 0) << output_;
  EXPECT_EQ(count(output_, "teacher 2/2"), 1) << output_;
  EXPECT_EQ(files("said4"), files("said1"));
  ASSERT_EQ(train_ranks(2, "two", cached("hidden", "said2", {"dist.teacher=sharded"})), 0)
      << output_;
  EXPECT_EQ(files("said2"), files("said1"));
  ASSERT_EQ(train("few1", cached("topk", "few1", few)), 0) << output_;
  ASSERT_EQ(train_ranks(2, "few2", cached("topk", "few2", {few[0], "dist.teacher=sharded"})), 0)
      << output_;
  EXPECT_EQ(files("few2"), files("few1"));
}

TEST_F(SpreadStages, ACacheThatLacksSomeIsFilledOnAnotherNumberOfRanks) {
  ASSERT_EQ(train_ranks(4, "four", cached("hidden", "said")), 0) << output_;
  const auto whole = files("said");
  int left = 0;
  for (const auto& [name, bytes] : whole)
    if (name.ends_with(".part") && ++left > 3)
      fs::remove(folder_ / "said" / name);
  ASSERT_EQ(train_ranks(2, "two", cached("hidden", "said")), 0) << output_;
  EXPECT_NE(output_.find(": 20 samples are to be made"), std::string::npos) << output_;
  EXPECT_EQ(files("said"), whole);
  ASSERT_EQ(train("one", cached("hidden", "said")), 0) << output_;
  EXPECT_NE(output_.find(": 0 samples are to be made"), std::string::npos) << output_;
}

TEST_F(SpreadStages, SigtermWhileASharedTeacherSpeaksStopsAllAndTheRestIsMadeByOne) {
  write_text_file(folder_ / "text.txt", tiny_text(3000));
  const std::vector<std::string> more{"teacher.cache=hidden",
                                      "teacher.cache_dir=" + (folder_ / "said").string(),
                                      "data.separator=\"\\n\"",
                                      "train.checkpoint_every=0",
                                      "train.steps=400"};
  std::vector<std::string> sharded = more;
  sharded.push_back("dist.teacher=sharded");
  Program program(of_ranks(2, "stopped", sharded), folder_ / "output.txt");
  const auto ranks = processes(3);  // before, so that nothing is to be done behind the line
  ASSERT_TRUE(program.says("samples are to be made")) << program.output();
  kill(ranks.at(1), SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_EQ(count(program.output(), "what the teacher has said is kept; --resume continues"), 1)
      << program.output();
  std::vector<std::string> less = more;
  less.back() = "--resume";
  EXPECT_EQ(train("stopped", less), 0) << output_;
  EXPECT_EQ(count(output_, " samples are to be made"), 1) << output_;
  EXPECT_EQ(count(output_, ": 0 samples are to be made"), 0) << output_;
}

TEST_F(SpreadStages, ALargeTextIsTokenizedByAllIntoTheFileOfOne) {
  write_text_file(folder_ / "text.txt", tiny_text(200000));  // beyond data::kWorthSharing
  std::vector<std::string> more{
      "train.steps=1", "data.separator=\"\\n\"", "data.cache=" + (folder_ / "by1").string()};
  ASSERT_EQ(train("one", more), 0) << output_;
  more.back() = "data.cache=" + (folder_ / "by4").string();
  ASSERT_EQ(train_ranks(4, "four", more), 0) << output_;
  EXPECT_EQ(count(output_, "token cache made by 4 ranks"), 1) << output_;
  EXPECT_TRUE(files("by4") == files("by1"));
}

TEST_F(SpreadStages, SigtermWhileTheyTokenizeEndsAllAndLeavesNoParts) {
  write_text_file(folder_ / "text.txt", tiny_text(300000));
  Program program(of_ranks(2, "stopped", {"train.steps=100000", "data.separator=\"\\n\""}),
                  folder_ / "output.txt");
  ASSERT_TRUE(comes([&] { return fs::exists(folder_ / "tokens"); })) << program.output();
  const auto found = processes(3);
  ASSERT_TRUE(found.contains(1)) << program.output();
  kill(found.at(1), SIGTERM);
  ASSERT_TRUE(comes([&] { return !program.lives(); })) << program.output();
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_EQ(count(program.output(), "while the text was tokenized: nothing is begun"), 1)
      << program.output();
  EXPECT_EQ(count(program.output(), "sterna: "), 0) << program.output();
  for (const auto& [name, bytes] : files("tokens"))
    EXPECT_EQ(name.find(".part-"), std::string::npos) << name;
  EXPECT_TRUE(living().empty());
}

TEST_F(SpreadStages, BlocksAreTrainedByAllAndGoneOnWithOnAnotherNumberOfRanks) {
  const std::vector<std::string> more{
      "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
      "blockwise.samples=10",
      "blockwise.batch=4",
      "blockwise.checkpoint_every=1",
      "train.steps=3",
      "train.keep_last=9",
      "export.format=sterna"};
  ASSERT_EQ(train("one", more), 0) << output_;
  ASSERT_EQ(train_ranks(4, "four", more), 0) << output_;
  ASSERT_EQ(train_ranks(4, "again", more), 0) << output_;
  EXPECT_EQ(hashes("four", "step-3"), hashes("again", "step-3"));
  EXPECT_TRUE(fs::exists(run_folder("four") / "export/sterna/certificate.json"));
  for (const char* name : {"step-0", "step-3"})
    fs::remove_all(run_folder("four") / "checkpoints" / name);
  std::vector<std::string> on = more;
  on.push_back("--resume");
  ASSERT_EQ(train_ranks(2, "four", on), 0) << output_;
  EXPECT_NE(output_.find("from block-1"), std::string::npos) << output_;
  const auto one = block_lines("one");
  const auto four = block_lines("four");
  ASSERT_EQ(one.size(), 2u);
  ASSERT_EQ(four.size(), 2u);
  for (size_t block = 0; block < 2; ++block)
    for (const char* key : {"error_before", "error_after"}) {
      const double wanted = one[block].at(key);
      EXPECT_NEAR(four[block].at(key), wanted, 5e-3 * wanted) << block << key;
    }
  EXPECT_NEAR(losses("four")[2], losses("one")[2], 1e-2 * losses("one")[2]);
}

TEST_F(SpreadStages, SigtermAmidABlockStopsAll) {
  Program program(of_ranks(2,
                           "stopped",
                           {"quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
                            "blockwise.samples=8",
                            "blockwise.batch=4",
                            "blockwise.epochs=10000000",
                            "train.steps=1"}),
                  folder_ / "output.txt");
  ASSERT_TRUE(program.says("samples a step")) << program.output();
  kill(processes(3).at(1), SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_EQ(count(program.output(), "nothing is trained yet"), 1) << program.output();
}

TEST_F(SpreadStages, BitsAreMeasuredByAllAndThoseOfOneRank) {
  const std::vector<std::string> more{
      "quant.weight={ name = 'affine_learned', bits = 2, group = 16 }",
      "quant.budget_bits=4",
      "quant.budget_text=" + (folder_ / "text.txt").string(),
      "quant.budget_tokens=128",
      "train.steps=2"};
  ASSERT_EQ(train("one", more), 0) << output_;
  ASSERT_EQ(train_ranks(2, "two", more), 0) << output_;
  EXPECT_EQ(count(output_, "assigned: 14 matrices"), 1) << output_;
  EXPECT_EQ(io::read_text(run_folder("two") / "bits.toml"),
            io::read_text(run_folder("one") / "bits.toml"));
  std::vector<std::string> on = more;
  on.back() = "train.steps=4";
  on.push_back("--resume");
  ASSERT_EQ(train_ranks(2, "two", on), 0) << output_;
  EXPECT_EQ(count(output_, "assigned:"), 0) << output_;
}

TEST_F(SpreadStages, RangesOfSharedOutMatricesGoOnElsewhere) {
  const std::vector<std::string> more{
      "train.schedule=constant",
      "train.log_every=1",
      "kd.range=[{ match = \"*.layers.*\", weight = 0.01, loss = \"margin\" }]"};
  const auto until = [&](int64_t step, const std::string& strategy) {
    std::vector<std::string> all = more;
    all.push_back("train.steps=" + std::to_string(step));
    all.push_back("dist.strategy=" + strategy);
    if (step == 6)
      all.push_back("--resume");
    return all;
  };
  ASSERT_EQ(train("one", until(5, "ddp")), 0) << output_;
  ASSERT_EQ(train("one", until(6, "ddp")), 0) << output_;
  ASSERT_EQ(train_ranks(2, "moved", until(5, "zero3")), 0) << output_;
  ASSERT_EQ(train_ranks(4, "moved", until(6, "zero1")), 0) << output_;
  for (size_t i = 0; i < 6; ++i)
    EXPECT_NEAR(losses("moved").at(i), losses("one").at(i), 1e-3 * losses("one").at(i)) << i;
}

TEST_F(SpreadStages, ASharedTeacherOfFewBitsTeachesTheSameBits) {
  std::vector<std::string> more{"train.steps=3",
                                "dist.strategy=zero2",
                                "teacher.quant.weight={ name = 'minmax_sym', bits = 8 }",
                                "eval.text=" + (folder_ / "text.txt").string(),
                                "eval.window=16"};
  ASSERT_EQ(train_ranks(2, "whole", more), 0) << output_;
  more.push_back("dist.teacher=sharded");
  ASSERT_EQ(train_ranks(2, "shared", more), 0) << output_;
  EXPECT_EQ(hashes("shared", "step-3"), hashes("whole", "step-3"));
}

}  // namespace
}  // namespace sterna::tests
