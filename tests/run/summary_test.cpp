#include "trainer/run/summary.h"

#include <filesystem>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "trainer/io/atomic_file.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

class Summary : public testing::Test {
 protected:
  Summary() { fs::create_directories(folder_ / "eval"); }
  void write(const std::string& name, const std::string& json) const {
    io::write_atomically(folder_ / "eval" / name, json);
  }
  const tests::TempFolder folder_;
};

TEST_F(Summary, PutsStagesInTheirOrderAndTextsSideBySide) {
  write("step-40.a.json", R"({"cell": "step-40", "text": "a", "ppl": 30})");
  write("step-9.a.json", R"({"cell": "step-9", "text": "a", "ppl": 40})");
  write("ptq.a.json",
        R"({"cell": "ptq", "text": "a", "ppl": 90, "kld": {"mean": 1.25}, "same_top": 0.5})");
  write("ptq.b.json", R"({"cell": "ptq", "text": "b", "ppl": 91, "samples": ["x"]})");
  write("blockwise.a.json", R"({"cell": "blockwise", "text": "a", "ppl": 50})");
  write("full-precision.a.json", R"({"cell": "full-precision", "text": "a", "ppl": 20})");
  const auto rows = read_summary(folder_);
  ASSERT_EQ(rows.size(), 5u);
  const char* order[] = {"full-precision", "ptq", "blockwise", "step-9", "step-40"};
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(rows[i].stage, order[i]);
  ASSERT_EQ(rows[1].cells.size(), 2u);
  EXPECT_EQ(rows[1].cells[1].ppl, 91);
  EXPECT_EQ(rows[1].samples, std::vector<std::string>{"x"});
  EXPECT_LT(rows[0].cells[0].kld, 0) << "not measured";
}

TEST_F(Summary, TextHoldsEveryFigureAndADashForWhatWasNotMeasured) {
  write("ptq.a.json",
        R"({"cell": "ptq", "text": "a", "ppl": 90.5, "kld": {"mean": 1.25}, "same_top": 0.5,
            "bits_per_weight": 3.281, "bytes": 76543210})");
  const std::string text = summary_text(read_summary(folder_));
  for (const char* part : {"ptq", "90.5", "1.250", "50.0 %", "3.28", "76.5"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  write("ptq.a.json", R"({"cell": "ptq", "text": "a", "ppl": 90.5})");
  EXPECT_NE(summary_text(read_summary(folder_)).find(" -"), std::string::npos);
}

TEST_F(Summary, LeavesFilesThatAreNoEvaluationOfTheRunAlone) {
  write("ptq.a.json", R"({"cell": "ptq", "text": "a", "ppl": 90})");
  const std::map<std::string, std::string> foreign = {
      {"cut.json", "{\"cell\": \"pt"},
      {"list.json", "[1]"},
      {"mine.json", R"({"format": 1, "ppl": 3, "text": "a"})"},
      {"other.json", R"({"cell": "step-abc", "text": "a", "ppl": 3})"},
      {"signed.json", R"({"cell": "step--4", "text": "a", "ppl": 3})"},
      {"far.json", R"({"cell": "step-99999999999999999999", "text": "a", "ppl": 3})"},
      {"types.json", R"({"cell": "ptq", "text": "a", "ppl": 3, "samples": [1]})"}};
  for (const auto& [name, text] : foreign)
    write(name, text);
  write("step-9.a.json", R"({"cell": "step-9", "text": "a", "ppl": 40})");
  drop_evaluations_behind(folder_, "ptq");
  EXPECT_FALSE(fs::exists(folder_ / "eval/step-9.a.json"));
  for (const auto& [name, text] : foreign)
    EXPECT_TRUE(fs::exists(folder_ / "eval" / name)) << name;
  ASSERT_EQ(read_summary(folder_).size(), 1u);
  EXPECT_EQ(read_summary(folder_)[0].cells.size(), 1u);
}

TEST_F(Summary, AFigureStandsInItsTextsColumnWhereAStageLacksAnother) {
  write("ptq.a.json", R"({"cell": "ptq", "text": "a", "ppl": 111})");
  write("ptq.b.json", R"({"cell": "ptq", "text": "b", "ppl": 222})");
  write("step-9.b.json", R"({"cell": "step-9", "text": "b", "ppl": 333})");
  std::istringstream lines(summary_text(read_summary(folder_)));
  std::string head, ptq, step;
  std::getline(lines, head);
  std::getline(lines, ptq);
  std::getline(lines, step);
  const auto end_of = [](const std::string& line, const std::string& part) {
    const size_t at = line.find(part);
    return at == std::string::npos ? at : at + part.size();
  };
  EXPECT_EQ(end_of(ptq, "222"), end_of(head, "PPL b"));
  EXPECT_EQ(end_of(step, "333"), end_of(head, "PPL b")) << head << "\n" << step;
}

TEST_F(Summary, AFigureOfOtherConditionsThanItsTextsLastOneIsMarked) {
  write("ptq.a.json", R"({"cell": "ptq", "text": "a", "ppl": 111, "conditions": "new"})");
  write("step-8.a.json", R"({"cell": "step-8", "text": "a", "ppl": 222, "conditions": "old"})");
  write("step-9.a.json", R"({"cell": "step-9", "text": "a", "ppl": 333})");
  write("step-9.b.json", R"({"cell": "step-9", "text": "b", "ppl": 444, "conditions": "b"})");
  write("step-10.a.json", R"({"cell": "step-10", "text": "a", "ppl": 555, "conditions": "new"})");
  std::string text = summary_text(read_summary(folder_));
  EXPECT_NE(text.find(" 222*"), std::string::npos) << text;
  EXPECT_NE(text.find("\n* measured with other eval settings"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '*'), 2) << text;
  fs::remove(folder_ / "eval/step-8.a.json");
  text = summary_text(read_summary(folder_));
  EXPECT_EQ(text.find('*'), std::string::npos) << text;
}

TEST_F(Summary, EvaluationsBehindACheckpointAreDroppedAndThoseBeforeItStay) {
  for (const char* cell : {"full-precision", "ptq", "blockwise", "step-9", "step-40"})
    write(cell + std::string(".a.json"),
          R"({"cell": ")" + std::string(cell) + R"(", "text": "a", "ppl": 1})");
  drop_evaluations_behind(folder_, "step-9");
  EXPECT_EQ(read_summary(folder_).size(), 4u);
  EXPECT_EQ(read_summary(folder_).back().stage, "step-9");
  drop_evaluations_behind(folder_, "ptq");
  ASSERT_EQ(read_summary(folder_).size(), 2u);
  EXPECT_EQ(read_summary(folder_).back().stage, "ptq");
}

TEST_F(Summary, OfARunWithoutEvaluationsIsEmpty) {
  EXPECT_TRUE(read_summary(folder_).empty());
  EXPECT_EQ(summary_text({}), "");
}

}  // namespace
}  // namespace sterna::run
