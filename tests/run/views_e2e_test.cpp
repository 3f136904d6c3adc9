// Ranks that see other files than each other, as on hosts with folders of their own: here by
// STERNA_DATA, which is another folder for each.
#include "tests/run/ranks_fixture.h"
#include "tests/support/port.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;

class Views : public RankTraining {
 protected:
  void SetUp() override {
    RankTraining::SetUp();
    if (IsSkipped())
      return;
    for (const int rank : {0, 1}) {
      write_tiny_model(of(rank) / "model");
      write_text_file(of(rank) / "text.txt", tiny_text(300));
    }
  }

  fs::path of(int rank) const { return folder_ / ("host" + std::to_string(rank)); }

  /// Two ranks on everything that each sees as its own. @return what both say
  std::string refused(const std::vector<std::string>& more) {
    std::vector<std::string> all{
        "train.steps=2", "model.path=$STERNA_DATA/model", "data.text=$STERNA_DATA/text.txt"};
    all.insert(all.end(), more.begin(), more.end());
    const std::string port = std::to_string(unused_port());
    std::vector<std::unique_ptr<Program>> ranks;
    for (const int rank : {0, 1})
      ranks.push_back(std::make_unique<Program>(
          arguments("run", all), folder_ / (std::to_string(rank) + ".txt"), [&, rank] {
            setenv("STERNA_DATA", of(rank).c_str(), 1);
            setenv("RANK", std::to_string(rank).c_str(), 1);
            setenv("WORLD_SIZE", "2", 1);
            setenv("MASTER_ADDR", "127.0.0.1", 1);
            setenv("MASTER_PORT", port.c_str(), 1);
          }));
    std::string said;
    for (const auto& rank : ranks) {
      EXPECT_EQ(rank->wait(), 2) << rank->output();
      said += rank->output();
    }
    EXPECT_EQ(count(said, "error: "), 1) << said;
    return said;
  }

  static void expect_both_hashes(const std::string& said, const std::string& what) {
    const std::string begin = "the hash of the " + what + " is ";
    const size_t at = said.find(begin);
    ASSERT_NE(at, std::string::npos) << said;
    std::istringstream line(said.substr(at + begin.size()));
    std::string first, on, rank, zero, other;
    line >> first >> on >> rank >> zero >> other;
    EXPECT_EQ(on + rank + zero, "onrank0,") << said;
    EXPECT_GE(first.size(), 16u) << said;
    EXPECT_EQ(other.size(), first.size()) << said;
    EXPECT_NE(other, first) << said;
  }
};

TEST_F(Views, WithAnotherTextEndAtTheStartWithBothHashes) {
  write_text_file(of(1) / "text.txt", tiny_text(301));
  const std::string said = refused({});
  expect_both_hashes(said, "data");
  EXPECT_EQ(said.find("the hash of the tokenizer"), std::string::npos) << said;
}

TEST_F(Views, WithAnotherTokenizerEndAtTheStartWithBothHashes) {
  const fs::path file = of(1) / "model/tokenizer.json";
  auto tokenizer = nlohmann::json::parse(io::read_text(file));
  auto& words = tokenizer.at("model").at("vocab");
  std::swap(words.at("a"), words.at("b"));
  write_text_file(file, tokenizer.dump());
  expect_both_hashes(refused({}), "tokenizer");
}

TEST_F(Views, WithFoldersOfTheirOwnForTheTeachersAnswersEndBeforeItSpeaks) {
  const std::string said = refused({"teacher.cache=hidden", "teacher.cache_dir=$STERNA_DATA/said"});
  for (const std::string& part :
       {std::string("teacher.cache_dir: what rank 0 writes into its "),
        (of(0) / "said").string() + ", rank 1 does not find in its " + (of(1) / "said").string()})
    EXPECT_NE(said.find(part), std::string::npos) << said;
  for (const int rank : {0, 1})
    for (const auto& entry : fs::directory_iterator(of(rank) / "said"))
      EXPECT_EQ(entry.path().filename(), "teacher.json");
}

}  // namespace
}  // namespace sterna::tests
