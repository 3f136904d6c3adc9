// Verbs that compare: exit code 1, and where the first differences are.
#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;

class AnswerNo : public tests::Verbs {};

TEST_F(AnswerNo, TokenizeShowsTheFirstDifferencesOfCases) {
  tests::write_file(folder_ / "right.json",
                    R"({"cases": [{"text": "ab", "ids": [97, 98], "decoded": "ab"},
                                  {"text": "", "ids": []}]})");
  EXPECT_EQ(sterna({"tokenize", path("model"), "--cases", path("right.json")}), kDone) << err_;
  EXPECT_EQ(out_, "2 of 2 cases agree\n");
  tests::write_file(folder_ / "wrong.json",
                    R"({"cases": [{"text": "ab", "ids": [97, 98], "decoded": "ab"},
                                  {"text": "cd", "ids": [99], "decoded": "c"},
                                  {"text": "e", "ids": [101], "decoded": "f"},
                                  {"text": "g", "ids": [1], "decoded": "\u0001"},
                                  {"text": "last", "ids": [2], "decoded": "\u0002"}]})");
  EXPECT_EQ(sterna({"tokenize", path("model"), "--cases", path("wrong.json")}), kAnswerIsNo);
  EXPECT_HAS(out_, "case 1: \"cd\"\n  ids expected [99]\n  ids found    [99,100]\n");
  EXPECT_HAS(out_, "case 2: \"e\"\n  decoded expected \"f\"\n  decoded found    \"e\"\n");
  EXPECT_HAS(out_, "case 3: \"g\"");
  EXPECT_EQ(out_.find("last"), std::string::npos) << "the fourth difference is counted, not shown";
  EXPECT_HAS(out_, "1 of 5 cases agree\n");
}

TEST_F(AnswerNo, TokenizeChecksPairsWithTheirSpecialTokensAndCut) {
  const std::string bert = (tests::source_dir() / "tests/golden/tokenizers/bert").string();
  EXPECT_EQ(sterna({"tokenize", bert + ".json", "--cases", bert + ".pairs.json"}), kDone) << out_;
  EXPECT_HAS(out_, " cases agree\n");
  tests::write_file(
      folder_ / "wrong.json",
      R"({"cases": [{"a": "tern", "b": "tern", "ids": [2, 3, 3, 3, 3, 3, 3], "type_ids": [0]}]})");
  EXPECT_EQ(sterna({"tokenize", bert + ".json", "--cases", path("wrong.json")}), kAnswerIsNo);
  EXPECT_HAS(out_, "type_ids expected [0]\n");
}

TEST_F(AnswerNo, VerifyMarksTheTensorsBeyondTheTolerance) {
  const fs::path golden = tests::source_dir() / "tests/golden/tiny_llama";
  const auto verify = [&](const fs::path& model, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {
        "verify", model.string(), "--expected", (golden / "expected.safetensors").string()};
    all.insert(all.end(), more.begin(), more.end());
    return sterna(all);
  };
  EXPECT_EQ(verify(golden), kDone) << err_;
  EXPECT_HAS(out_, "all within 1.000e-04\n");
  EXPECT_EQ(out_.find("BEYOND"), std::string::npos) << out_;
  EXPECT_EQ(verify(golden, {"--tolerance", "0"}), kAnswerIsNo);
  // The sign of the file's last weight.
  fs::copy(golden, folder_ / "changed");
  std::string bytes = tests::read_file(folder_ / "changed/model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 0x80);
  tests::write_file(folder_ / "changed/model.safetensors", bytes);
  EXPECT_EQ(verify(folder_ / "changed"), kAnswerIsNo);
  EXPECT_HAS(out_, "BEYOND");
  EXPECT_HAS(out_, "not all within 1.000e-04\n");
  EXPECT_EQ(verify(folder_ / "changed", {"--tolerance", "1e6"}), kDone);
}

}  // namespace
}  // namespace sterna::cli
