// `sterna generate --sequences`: training data in the form that [data] reads.
#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

using SelfGeneration = tests::Verbs;

TEST_F(SelfGeneration, WritesIdsThatARecipeTrainsOn) {
  const std::vector<std::string> command = {
      "generate", path("model"), "--sequences", "40", "--max-new", "48", "--out"};
  const auto write = [&](const std::string& name) {
    std::vector<std::string> all = command;
    all.push_back(path(name));
    return sterna(all);
  };
  ASSERT_EQ(write("a.bin"), kDone) << err_;
  EXPECT_HAS(out_, "40 sequences");
  EXPECT_HAS(out_, "dtype = \"uint16\"");
  ASSERT_EQ(write("b.bin"), kDone) << err_;
  EXPECT_EQ(tests::read_file(folder_ / "a.bin"), tests::read_file(folder_ / "b.bin"));
  EXPECT_EQ(write("a.bin"), kUserError);
  EXPECT_HAS(err_, "exists already");

  std::vector<std::string> train = training("selfgen", {"data.format=tokens"});
  for (std::string& argument : train)
    if (argument.starts_with("data.text="))
      argument = "data.text=" + path("a.bin");
  ASSERT_EQ(sterna(train), kDone) << err_;
  EXPECT_HAS(out_ + err_, "40 documents");
}

TEST_F(SelfGeneration, AnswersPromptsForPreferenceData) {
  tests::write_file(folder_ / "p.jsonl",
                    "{\"prompt\": \"the cat\", \"id\": 7}\n{\"prompt\": \"a bird\"}\n");
  const auto answer = [&](const char* from, const std::string& as, const char* to) {
    return sterna({"generate",
                   path("model"),
                   "--prompts",
                   path(from),
                   "--as",
                   as,
                   "--max-new",
                   as == "chosen" ? "6" : "3",
                   "--out",
                   path(to)});
  };
  ASSERT_EQ(answer("p.jsonl", "chosen", "a.jsonl"), kDone) << err_;
  ASSERT_EQ(answer("a.jsonl", "rejected", "b.jsonl"), kDone) << err_;
  std::istringstream lines(tests::read_file(folder_ / "b.jsonl"));
  int64_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto record = nlohmann::json::parse(line);
    EXPECT_TRUE(record.at("chosen").is_string() && record.at("rejected").is_string()) << line;
    EXPECT_NE(record["chosen"], record["rejected"]) << "6 tokens against 3";
    EXPECT_EQ(record.contains("id"), count == 0);
  }
  EXPECT_EQ(count, 2);
  EXPECT_EQ(answer("b.jsonl", "chosen", "c.jsonl"), kUserError);
  EXPECT_HAS(err_, "b.jsonl:1: the object has a \"chosen\" already");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "c.jsonl"));
}

TEST_F(SelfGeneration, SaysWhatItIsNotGiven) {
  EXPECT_EQ(sterna({"generate", path("model"), "--sequences", "2"}), kUserError);
  EXPECT_HAS(err_, "--out FILE");
  EXPECT_EQ(sterna({"generate", path("model"), "--prompt", "a", "--out", path("x")}), kUserError);
  EXPECT_HAS(err_, "--out and --as are of");
  EXPECT_EQ(
      sterna({"generate", path("model"), "--sequences", "2", "--prompt", "a", "--out", path("x")}),
      kUserError);
  EXPECT_HAS(err_, "give one of");
  EXPECT_EQ(
      sterna(
          {"generate", path("model"), "--sequences", "2", "--max-new", "999", "--out", path("x")}),
      kUserError);
  EXPECT_HAS(err_, "the model takes 256");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x"));
}

}  // namespace
}  // namespace sterna::cli
