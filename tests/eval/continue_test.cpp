#include "trainer/eval/continue.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/io/support.h"
#include "tests/support/tiny_model.h"
#include "trainer/model/load.h"

namespace sterna::eval {
namespace {

class Continue : public testing::Test {
 protected:
  Continue() { tests::write_tiny_model(folder_ / "model"); }

  std::unique_ptr<text::Tokenizer> tokenizer(const nlohmann::json& config) const {
    tests::write_file(folder_ / "model/tokenizer_config.json", config.dump());
    return text::open_tokenizer(folder_ / "model");
  }

  tests::TempFolder folder_;
};

TEST_F(Continue, AStartTokenComesWhereTheTokenizerAddsOne) {
  const std::vector<int32_t> bare{'a', 'b'};
  EXPECT_EQ(prompt_ids(*tokenizer({{"bos_token", "<|end|>"}}), "ab"), bare);
  EXPECT_EQ(prompt_ids(*tokenizer({{"bos_token", "<|end|>"}, {"add_bos_token", true}}), "ab"),
            (std::vector<int32_t>{256, 'a', 'b'}));
}

TEST_F(Continue, EndsAtAnEndTokenOfTheTokenizerOrTheConfigurationAndLeavesItOut) {
  const auto plain = tokenizer({{"eos_token", "<|end|>"}});
  const auto prompt = prompt_ids(*plain, "the cat");
  model::CheckpointInfo info = model::inspect(folder_ / "model");
  const auto free = generate(model::load_decoder(info, at::kFloat), prompt, {8}, {});
  ASSERT_EQ(free.size(), 8u);
  const int32_t end = free[3];
  const auto first = std::find(free.begin(), free.end(), end);
  const std::string before = plain->decode(std::span(free.begin(), first));

  const auto named = tokenizer({{"eos_token", plain->piece(end)}});
  info.config.eos = {256};
  std::string given;
  const Continuation by_tokenizer = continue_prompt(
      model::load_decoder(info, at::kFloat), *named, prompt, {8}, [&](const std::string& t) {
        given += t;
      });
  EXPECT_EQ(by_tokenizer.written, first - free.begin() + 1);
  EXPECT_EQ(by_tokenizer.text, before);
  EXPECT_EQ(given, before);

  info.config.eos = {256, end};
  const Continuation by_config =
      continue_prompt(model::load_decoder(info, at::kFloat), *plain, prompt, {8});
  EXPECT_EQ(by_config.written, by_tokenizer.written);
  EXPECT_EQ(by_config.text, before);
}

}  // namespace
}  // namespace sterna::eval
