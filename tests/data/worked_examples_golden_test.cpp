// The worked examples of recipes/ on the real sets: how many samples they give, and what carries
// loss.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/support/data.h"
#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/data/samples.h"

namespace sterna::data {
namespace {

class WorkedExamples : public testing::Test {
 protected:
  std::unique_ptr<SampleSource> open(const std::string& name, std::vector<std::string> more) const {
    setenv("STERNA_DATA", tests::data_dir().c_str(), /*overwrite=*/0);
    recipes::Recipe recipe = recipes::Recipe::load(tests::source_dir() / "recipes" / name);
    more.push_back("data.cache=" + folder_.path().string());
    for (const std::string& setting : more)
      recipe.set(setting);
    return open_samples(recipe.section("data"), *tokenizer_, 512, 0);
  }

  tests::TempFolder folder_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

#define REQUIRE_SETS()                                \
  STERNA_REQUIRE_SMOLLM2();                           \
  STERNA_REQUIRE_DATA("gsm8k/gsm8k_train.jsonl");     \
  STERNA_REQUIRE_DATA("wikitext2/wiki.train.tokens"); \
  tokenizer_ = text::open_tokenizer(tests::smollm2())

TEST_F(WorkedExamples, Gsm8kTrainsOnAnswersAsTheModelIsToGiveThem) {
  REQUIRE_SETS();
  const auto source =
      open("smollm2_gsm8k.toml", {"data.blend.0.held_out=0", "data.blend.0.shuffle=false"});
  int64_t answers = 0;
  std::string first;
  for (int64_t i = 0; i < 100; ++i) {
    const Sample sample = source->at(i);
    const std::string shown = show_sample(sample, *tokenizer_);
    if (!shown.starts_with("[[<|im_start|>"))
      continue;
    ++answers;
    if (first.empty() || shown.find("Natalia sold clips") != std::string::npos)
      first = shown;
    EXPECT_NE(shown.find("<|im_start|>assistant\n]]"), std::string::npos) << shown;
    const auto predicted = std::count(sample.loss.begin(), sample.loss.end(), 1);
    EXPECT_GT(predicted, 20) << shown;
    EXPECT_LT(predicted, 400) << shown;
    EXPECT_EQ(shown.find("<|im_end|>[[\n]]") == std::string::npos, false) << shown;
  }
  EXPECT_NEAR(static_cast<double>(answers), 70, 16);
}

TEST_F(WorkedExamples, Gsm8ksFirstQuestionIsMaskedAndItsAnswerIsNot) {
  REQUIRE_SETS();
  const auto source = open("smollm2_gsm8k.toml",
                           {"data.blend.0.weight=1e6",
                            "data.blend.1.weight=1e4",
                            "data.blend.0.held_out=0",
                            "data.blend.0.shuffle=false"});
  bool found = false;
  for (int64_t i = 0; i < 1000 && !found; ++i) {
    const std::string shown = show_sample(source->at(i), *tokenizer_);
    found = shown.starts_with(
        "[[<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n<|im_start|>user\nNatalia sold clips to 48 of her friends in April, and "
        "then she sold half as many clips in May. How many clips did Natalia sell altogether in "
        "April and May?<|im_end|>\n<|im_start|>assistant\n]]Natalia sold 48/2 = <<48/2=24>>24 "
        "clips "
        "in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72"
        "<|im_end|>[[\n]]\n=====\n[[<|im_start|>system\n");
  }
  EXPECT_TRUE(found);
}

TEST_F(WorkedExamples, WikiText2IsPackedWithoutLosingAToken) {
  REQUIRE_SETS();
  const auto source = open("smollm2_wikitext2.toml", {});
  EXPECT_EQ(source->size(), (source->tokens() - 1) / 512);
  EXPECT_GT(source->tokens(), 2'000'000);
  EXPECT_EQ(source->at(0).loss, std::vector<uint8_t>(512, 1));
}

}  // namespace
}  // namespace sterna::data
