// What a run writes about its stages, beside what the verbs say about the same models.
#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

class RunOutput : public tests::Verbs {
 protected:
  std::vector<std::string> evaluated(const std::string& name,
                                     std::vector<std::string> more = {}) const {
    more.insert(more.end(),
                {"eval.text=" + path("text.txt"), "eval.window=16", "eval.max_windows=2"});
    return training(name, more);
  }

  json cell(const std::string& run, const std::string& name) const {
    return json::parse(
        tests::read_file(folder_ / ("runs/" + run + "/eval/" + name + ".text.txt.json")));
  }
};

TEST_F(RunOutput, APromptIsContinuedAsGenerateContinuesIt) {
  tests::write_file(folder_ / "model/tokenizer_config.json",
                    R"({"bos_token": "<|end|>", "eos_token": "<|end|>", "add_bos_token": true})");
  ASSERT_EQ(sterna(evaluated("r", {"eval.prompts=['the cat']", "eval.prompt_tokens=12"})), kDone)
      << err_;
  const std::string found = cell("r", "full-precision").at("samples").at(0);
  ASSERT_EQ(sterna({"generate", path("model"), "--prompt", "the cat", "--max-new", "12"}), kDone);
  std::string expected;  // on one line, as tables need it
  for (const char c : out_.substr(0, out_.size() - 1))
    expected += c == '\n' ? std::string(expected.ends_with(" / ") ? "" : " / ") : std::string(1, c);
  EXPECT_EQ(found, "the cat" + expected);
}

TEST_F(RunOutput, TheFullPrecisionStudentIsNotComparedWithItself) {
  ASSERT_EQ(sterna(evaluated("r")), kDone) << err_;
  EXPECT_FALSE(cell("r", "full-precision").contains("kld"));
  EXPECT_TRUE(cell("r", "ptq").contains("kld"));
  EXPECT_EQ(cell("r", "ptq").at("score"), "all");
  // In another dtype the teacher is another model.
  ASSERT_EQ(sterna(evaluated("bf16", {"teacher.dtype=bf16"})), kDone) << err_;
  EXPECT_TRUE(cell("bf16", "full-precision").contains("kld"));
}

}  // namespace
}  // namespace sterna::cli
