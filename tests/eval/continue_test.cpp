#include "trainer/eval/continue.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/io/support.h"
#include "tests/support/tiny_model.h"
#include "trainer/io/json.h"
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

// Of SentencePiece's pieces the first of a text loses its space, which none of a continuation is.
TEST_F(Continue, KeepsTheSpaceBetweenThePromptAndItsContinuation) {
  nlohmann::json root = io::read_json(folder_ / "model/tokenizer.json");
  nlohmann::json vocab;
  for (int id = 0; id < 256; ++id)
    vocab["\u2581w" + std::to_string(id)] = id;
  root["model"]["vocab"] = vocab;
  root["pre_tokenizer"] = nullptr;
  root["decoder"] = {{"type", "Sequence"},
                     {"decoders",
                      {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                       {{"type", "Fuse"}},
                       {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  tests::write_file(folder_ / "model/tokenizer.json", root.dump());
  const auto words = text::open_tokenizer(folder_ / "model");
  const model::Decoder decoder = model::load_decoder(model::inspect(folder_ / "model"), at::kFloat);

  std::vector<int32_t> ids{7, 8};
  const Continuation made = continue_prompt(decoder, *words, ids, {3});
  const auto new_ids = generate(decoder, ids, {3}, {});
  ids.insert(ids.end(), new_ids.begin(), new_ids.end());
  EXPECT_EQ("w7 w8" + made.text, words->decode(ids));
  EXPECT_EQ(made.text.front(), ' ');
}

}  // namespace
}  // namespace sterna::eval
